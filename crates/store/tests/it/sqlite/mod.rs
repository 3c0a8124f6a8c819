//! What holds for the embedded store alone.

mod committing;
mod faults;
mod inspecting;
mod opening;
mod tracing;
