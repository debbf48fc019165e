//! Takes away the interface by which componentize-py starts the interpreter at build time. A component exports it still, as `exports`.

use wasmparser::{ComponentExternalKind, Parser, Payload};

/// The name of the export.
const EXPORT: &str = "exports";

/// A section with one instance that exports nothing. It takes the place of the export in the numbers of instances.
const EMPTY_INSTANCE: [u8; 5] = [5, 3, 1, 1, 0];

/// Returns the component without the interface. Returns it as it is if it has none in a section of its own.
pub(super) fn without(component: Vec<u8>) -> wasmparser::Result<Vec<u8>> {
    // Sections within sections are skipped.
    let (mut depth, mut end) = (0, 0);
    for payload in Parser::new(0).parse_all(&component) {
        let payload = payload?;
        match &payload {
            Payload::Version { range, .. } => {
                depth += 1;
                if depth == 1 {
                    end = range.end;
                }
            }
            Payload::End(_) => depth -= 1,
            _ => {}
        }
        let Some((_, section)) = payload.as_section().filter(|_| depth == 1) else { continue };
        if let Payload::ComponentExportSection(exports) = payload {
            let found: Vec<_> = exports.into_iter().collect::<wasmparser::Result<_>>()?;
            let is_it = |kind, name: &str| kind == ComponentExternalKind::Instance && name == EXPORT;
            if let [only] = &found[..]
                && is_it(only.kind, only.name.name)
            {
                // The parser read both places, so they are in the bytes.
                let place = |offset: u64| usize::try_from(offset).unwrap_or(component.len());
                let (before, after) = (&component[..place(end)], &component[place(section.end)..]);
                return Ok([before, &EMPTY_INSTANCE[..], after].concat());
            }
        }
        end = section.end;
    }
    Ok(component)
}
