//! Makes new builds of a module without a compiler: copies of a component with another build id.

/// The name of the custom section of a component that contains the build id.
const SECTION: &[u8] = b"watertight:module";
const KEY: &[u8] = b"\"build\":\"";

/// Returns the component with another build id in its custom section, and so with another digest. `id` is brought to the length of the old
/// id, so that the length of the section does not change.
///
/// # Panics
///
/// If `component` was not built by `watertight build`.
pub fn with_build_id(component: &[u8], id: &str) -> Vec<u8> {
    let section = component.windows(SECTION.len()).rposition(|window| window == SECTION);
    let section = section.expect("the component carries what `watertight build` writes into it");
    let key =
        component[section..].windows(KEY.len()).position(|window| window == KEY).expect("the section has a build id");
    let start = section + key + KEY.len();
    let length = component[start..].iter().position(|byte| *byte == b'"').expect("a text of JSON ends");
    let id = format!("{id:x>length$}");
    let mut changed = component.to_vec();
    changed[start..start + length].copy_from_slice(&id.as_bytes()[id.len() - length..]);
    changed
}
