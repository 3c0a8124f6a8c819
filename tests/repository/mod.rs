//! The repository itself: the direction of its dependencies, and what its documents claim about the
//! tests.

mod crate_graph;
mod import_circles;
mod security_page;
