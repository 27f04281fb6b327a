//! The whole engine over scripted providers: in virtual time, under tokio and under smol.

#[cfg(test)]
mod after_call;
#[cfg(test)]
mod agents;
#[cfg(test)]
mod calls;
#[cfg(test)]
mod capacity;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod money;
#[cfg(test)]
mod on_request;
#[cfg(test)]
mod recordings;
#[cfg(test)]
mod recovery;
#[cfg(test)]
mod remote;
#[cfg(test)]
mod retention;
#[cfg(test)]
mod runtimes;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod spans;
#[cfg(test)]
mod tasks;
#[cfg(test)]
mod tenants;
#[cfg(test)]
mod transfers;
#[cfg(test)]
mod trunks;
#[cfg(test)]
mod turns;
#[cfg(test)]
mod users;
#[cfg(test)]
mod world;
