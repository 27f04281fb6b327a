//! The widest vectors that the processor has, found out as the program runs.
//!
//! A kernel is a function `#[inline(always)] fn kernel<S: Simd>(simd: S, …)`, called as
//! `dispatch!(level, simd => kernel(simd, …))` with a [`Level`] that was asked for once, at construction. Inside, plain
//! loops over arrays and slices become vectors of that level, and so do the vector types of `S`.
//!
//! Every level must give the same bits, which a test shows by running a kernel at each of [`levels`]: so the order of
//! additions does not depend on the width of a vector, and a product is rounded before it is added.

pub(crate) use fearless_simd::{Level, Simd, dispatch};

/// The level of this processor. Cheap, and cheaper still when kept.
pub(crate) fn level() -> Level {
    Level::new()
}

/// Every level that this processor can run, from plain to wide.
#[cfg(test)]
pub(crate) fn levels() -> Vec<Level> {
    let best = level();
    let mut levels = vec![Level::baseline()];
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    {
        levels.extend(best.as_sse4_2().map(Level::Sse4_2));
        levels.extend(best.as_avx2().map(Level::Avx2));
        levels.extend(best.as_avx512().map(Level::Avx512));
    }
    levels.push(best);
    levels
}
