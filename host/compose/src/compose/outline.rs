//! Reads the index spaces of a component, so that sections can be appended to it.

use wasmparser::{
    BinaryReaderError, ComponentExternalKind, ComponentTypeRef, Parser, Payload, ValidPayload, Validator, WasmFeatures,
};

/// How many types, functions and instances a component has so far. Each number is also the index of the next item of its kind.
pub(super) struct Spaces {
    pub(super) types: u32,
    pub(super) functions: u32,
    pub(super) instances: u32,
}

/// The indexes of the imports and exports of the outermost component.
pub(super) struct Outline {
    pub(super) spaces: Spaces,
    /// The exported instances: name and index.
    pub(super) instances: Vec<(String, u32)>,
    /// The exported functions: name and index.
    pub(super) functions: Vec<(String, u32)>,
    /// The indexes of imported and exported types, in the order of the binary.
    pub(super) types: Vec<u32>,
}

impl Spaces {
    fn of(types: wasmparser::types::TypesRef<'_>) -> Self {
        Self {
            types: types.component_type_count(),
            functions: types.component_function_count(),
            instances: types.component_instance_count(),
        }
    }
}

impl Outline {
    /// Reads the outline of a component's binary.
    pub(super) fn of(bytes: &[u8]) -> Result<Self, BinaryReaderError> {
        let mut validator = Validator::new_with_features(WasmFeatures::all());
        let mut parser = Parser::new(0);
        parser.set_features(WasmFeatures::all());
        let spaces = Spaces { types: 0, functions: 0, instances: 0 };
        let mut outline = Self { spaces, instances: Vec::new(), functions: Vec::new(), types: Vec::new() };
        let mut nested = 0_usize;
        for payload in parser.parse_all(bytes) {
            let payload = payload?;
            if nested == 0 {
                if let Some(types) = validator.types(0) {
                    outline.spaces = Spaces::of(types);
                }
                outline.take(&payload)?;
            }
            match validator.payload(&payload)? {
                ValidPayload::Parser(_) => nested += 1,
                ValidPayload::End(types) if nested == 0 => {
                    outline.spaces = Spaces::of(types.as_ref());
                    return Ok(outline);
                }
                ValidPayload::End(_) => nested -= 1,
                ValidPayload::Ok | ValidPayload::Func(..) => {}
            }
        }
        unreachable!("the parser ends with an end or an error")
    }

    /// Records the imports or exports of a section of the outermost component. Each import and each export adds an index.
    fn take(&mut self, payload: &Payload<'_>) -> Result<(), BinaryReaderError> {
        let Spaces { types, functions, instances } = &mut self.spaces;
        match payload {
            Payload::ComponentImportSection(section) => {
                for import in section.clone() {
                    if let ComponentTypeRef::Type(_) = import?.ty {
                        self.types.push(take(types));
                    }
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section.clone() {
                    let export = export?;
                    let name = || export.name.name.to_owned();
                    match export.kind {
                        ComponentExternalKind::Instance => self.instances.push((name(), take(instances))),
                        ComponentExternalKind::Func => self.functions.push((name(), take(functions))),
                        ComponentExternalKind::Type => self.types.push(take(types)),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Returns the next index of one kind of item, and advances the counter `next`.
pub(super) fn take(next: &mut u32) -> u32 {
    let index = *next;
    *next += 1;
    index
}
