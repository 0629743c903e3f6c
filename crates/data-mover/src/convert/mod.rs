//! The wire and the domain, both ways. What arrives is parsed once, here, and refused with words
//! that name the field.

mod model;
mod store;

pub(crate) use model::*;
pub(crate) use store::*;
