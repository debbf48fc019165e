//! Tests of the WIT that goes into an application.
