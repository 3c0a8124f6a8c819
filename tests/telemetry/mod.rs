//! What the server reports about itself.

mod traces;
