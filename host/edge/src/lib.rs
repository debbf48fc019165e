//! The HTTP listeners: the data listener with the routes of an application, and the admin API.

pub mod http;
pub mod admin;
