//! The repository itself: what its documents claim about the code.

mod security_page;
