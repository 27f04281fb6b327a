//! Programs that embed offhook: see the files beside this one.
