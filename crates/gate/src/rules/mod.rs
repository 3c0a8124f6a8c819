//! [`Rules`]: which path needs which access.
//!
//! The shipped rules come from the table of [`Procedure`]s that Flyte serves. The configuration
//! adds rules, which override them.

mod methods;
mod pattern;
mod procedure;
mod rule;
mod set;
mod shipped;
mod template;

pub use self::{
    methods::Methods,
    pattern::{InvalidPattern, MAX_PATTERN, Pattern},
    procedure::{Kind, Procedure},
    rule::{Rule, Source},
    set::{MAX_RULES, Rules},
    template::{Binding, Template},
};
