//! Tests in headless Chromium. Scripts drive it: `browser.js` has what they share. They need Chromium, Node.js and `playwright-core`;
//! `make test` installs them if they are missing.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

mod chromium;
mod openapi;
mod trip;
