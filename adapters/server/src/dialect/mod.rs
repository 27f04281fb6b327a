//! The vendors' public APIs, a folder a vendor. A dialect only translates: the engine's services do the work.

mod dialro;
mod voxstack;

use utoipa_axum::router::OpenApiRouter;

use crate::app::App;
use crate::gate::Gate;
use crate::mount::Shape;

/// A dialect as the server mounts it.
pub struct Mounted {
    /// Its name in paths.
    pub name: &'static str,
    /// The vendor's own.
    pub title: &'static str,
    /// Who may come in.
    pub gate: Gate,
    /// What needs a key.
    pub gated: fn() -> OpenApiRouter<App>,
    /// What needs none.
    pub open: fn() -> OpenApiRouter<App>,
    /// How it refuses.
    pub shape: Shape,
}

/// All of them.
pub fn all() -> [Mounted; 2] {
    [dialro::mounted(), voxstack::mounted()]
}
