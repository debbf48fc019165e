//! The OpenAPI 3.1 document of an application, made from its routes and the WIT types of its functions, and the comparison of two such
//! documents: what a change means to clients. Pure values.

pub mod format;
pub mod document;
pub mod compare;
