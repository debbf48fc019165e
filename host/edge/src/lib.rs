//! The HTTP listeners of the host: the data listener, which serves the routes of an application, and the admin API for operators.

pub mod http;
pub mod admin;
