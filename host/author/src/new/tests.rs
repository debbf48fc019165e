//! Tests of names, files and manifests of new applications and modules.
