//! Reads from a component's bytes what the component needs of the engine that runs it.
//!
//! The bytes are untrusted: numbers in them are only compared, never used as the size of an allocation.

use wasmparser::{
    CanonicalFunction, CanonicalOption, ComponentType, ComponentTypeDeclaration, Encoding, Import, Instance,
    InstanceTypeDeclaration, Parser, Payload, TypeRef, WasmFeatures,
};

use crate::shape::ShapeError;

/// Bytes that the engine keeps for each imported function and each function that may have a reference to it. Wasmtime's `VMFuncRef` and
/// `VMFunctionImport` are no larger.
const PER_FUNCTION: u64 = 32;
/// Bytes that the engine keeps for each global, table and memory, imported or not.
const PER_ITEM: u64 = 32;

/// What a component needs of the engine that runs it. Each number is the greatest need of one core module, unless its comment says
/// otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EngineNeeds {
    /// Bytes of one linear memory when an instance starts.
    pub memory: u64,
    /// Elements of one table when an instance starts.
    pub table: u64,
    /// Bytes that the engine keeps for an instance of one core module. This is an upper bound: the engine needs less if some functions have
    /// no reference.
    pub instance: u64,
    /// Number of core modules, adapters and glue code included.
    pub core_modules: u32,
    /// Number of linear memories that one core module defines.
    pub memories: u32,
    /// Number of tables that one core module defines.
    pub tables: u32,
    /// The sums over all core modules. A definition or an instantiation counts once for each time that it is written in the component.
    pub total: CompartmentNeeds,
    /// Whether any part of the component uses the component model's own concurrency. WASI 0.3 counts, because its interfaces have `async
    /// func`, whether or not the component imports those.
    pub concurrency: bool,
}

/// The needs of a component that are summed over a whole compartment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CompartmentNeeds {
    /// Number of instances of core modules in the compartment.
    pub core_instances: u32,
    /// Number of linear memories in the compartment.
    pub memories: u32,
    /// Bytes of all linear memories together when an instance starts.
    pub memory: u64,
    /// Number of tables in the compartment.
    pub tables: u32,
}

impl std::ops::Add for CompartmentNeeds {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            core_instances: self.core_instances.saturating_add(other.core_instances),
            memories: self.memories.saturating_add(other.memories),
            memory: self.memory.saturating_add(other.memory),
            tables: self.tables.saturating_add(other.tables),
        }
    }
}

impl EngineNeeds {
    /// Reads the needs of the component in `bytes`. Function bodies are not read.
    ///
    /// # Errors
    ///
    /// [`ShapeError::Invalid`] if the bytes can't be parsed.
    pub fn read(bytes: &[u8]) -> Result<Self, ShapeError> {
        Self::of(bytes).map_err(|error| ShapeError::Invalid {
            offset: error.offset(),
            message: error.message().lines().collect::<Vec<_>>().join(": "),
        })
    }

    fn of(bytes: &[u8]) -> Result<Self, wasmparser::Error> {
        let mut needs = Self::default();
        // Bytes of an instance of the core module that is being read. Core modules don't nest; the components around them do.
        let mut instance = 0_u64;
        let mut parser = Parser::new(0);
        parser.set_features(WasmFeatures::all());
        for payload in parser.parse_all(bytes) {
            match payload? {
                Payload::Version { encoding: Encoding::Module, .. } => {
                    needs.core_modules = needs.core_modules.saturating_add(1);
                    instance = 0;
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let Import { ty, .. } = import?;
                        instance =
                            instance.saturating_add(if let TypeRef::Func(_) = ty { PER_FUNCTION } else { PER_ITEM });
                    }
                }
                Payload::FunctionSection(section) => {
                    instance = instance.saturating_add(u64::from(section.count()) * PER_FUNCTION);
                }
                Payload::GlobalSection(section) => {
                    instance = instance.saturating_add(u64::from(section.count()) * PER_ITEM);
                }
                Payload::TableSection(section) => {
                    needs.tables = needs.tables.max(section.count());
                    needs.total.tables = needs.total.tables.saturating_add(section.count());
                    for table in section {
                        needs.table = needs.table.max(table?.ty.initial);
                        instance = instance.saturating_add(PER_ITEM);
                    }
                }
                Payload::MemorySection(section) => {
                    needs.memories = needs.memories.max(section.count());
                    needs.total.memories = needs.total.memories.saturating_add(section.count());
                    for memory in section {
                        let memory = memory?;
                        let page = 1_u64 << memory.page_size_log2.unwrap_or(16).min(16);
                        let bytes = memory.initial.saturating_mul(page);
                        needs.memory = needs.memory.max(bytes);
                        needs.total.memory = needs.total.memory.saturating_add(bytes);
                        instance = instance.saturating_add(PER_ITEM);
                    }
                }
                Payload::InstanceSection(section) => {
                    for instance in section {
                        if let Instance::Instantiate { .. } = instance? {
                            needs.total.core_instances = needs.total.core_instances.saturating_add(1);
                        }
                    }
                }
                Payload::ComponentCanonicalSection(section) => {
                    for function in section {
                        needs.concurrency |= is_concurrent(&function?);
                    }
                }
                Payload::ComponentImportSection(section) => {
                    for import in section {
                        needs.concurrency |= is_wasi_3(import?.name.name);
                    }
                }
                Payload::ComponentTypeSection(section) => {
                    for ty in section {
                        needs.concurrency |= has_concurrency(&ty?);
                    }
                }
                _ => {}
            }
            needs.instance = needs.instance.max(instance);
        }
        Ok(needs)
    }
}

/// Whether an import is an interface of WASI 0.3.
fn is_wasi_3(name: &str) -> bool {
    name.starts_with("wasi:") && name.split_once('@').is_some_and(|(_, version)| version.starts_with("0.3."))
}

/// Whether a canonical function, which connects core modules with components, belongs to the component model's own concurrency.
fn is_concurrent(function: &CanonicalFunction) -> bool {
    use CanonicalFunction::{Lift, Lower, ResourceDrop, ResourceNew, ResourceRep};
    match function {
        Lift { options, .. } | Lower { options, .. } => options.contains(&CanonicalOption::Async),
        ResourceNew { .. } | ResourceDrop { .. } | ResourceRep { .. } => false,
        _ => true,
    }
}

/// Whether a component type is an async function, a stream or a future, or declares such a type.
fn has_concurrency(ty: &ComponentType<'_>) -> bool {
    use wasmparser::ComponentDefinedType::{Future, Stream};
    match ty {
        ComponentType::Defined(ty) => matches!(ty, Future(_) | Stream(_)),
        ComponentType::Func(function) => function.async_,
        ComponentType::Component(declarations) => declarations.iter().any(|declaration| match declaration {
            ComponentTypeDeclaration::Type(ty) => has_concurrency(ty),
            _ => false,
        }),
        ComponentType::Instance(declarations) => declarations.iter().any(|declaration| match declaration {
            InstanceTypeDeclaration::Type(ty) => has_concurrency(ty),
            _ => false,
        }),
        ComponentType::Resource { .. } => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn needs(text: &str) -> EngineNeeds {
        EngineNeeds::read(&wat::parse_str(text).unwrap()).unwrap()
    }

    #[test]
    fn the_largest_of_each_kind_counts() {
        let found = needs(
            r#"(component
                (core module (memory 3) (table 10 funcref))
                (component (core module (memory 2) (table 40 funcref) (func) (func) (global i32 i32.const 0)))
            )"#,
        );
        let instance = 2 * PER_FUNCTION + 3 * PER_ITEM;
        let total = CompartmentNeeds { core_instances: 0, memories: 2, memory: 5 << 16, tables: 2 };
        let (memories, tables) = (1, 1);
        let expected = EngineNeeds {
            memory: 3 << 16,
            table: 40,
            instance,
            core_modules: 2,
            memories,
            tables,
            total,
            concurrency: false,
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn concurrency_shows_in_types_and_in_glue() {
        assert!(needs("(component (type (func async (result u32))))").concurrency);
        assert!(needs("(component (type (instance (type (stream u8)))))").concurrency);
        assert!(needs("(component (core func (canon waitable-set.new)))").concurrency);
        assert!(needs("(component (import \"wasi:random/random@0.3.0\" (instance)))").concurrency);
        assert!(!needs("(component (import \"wasi:random/random@0.2.3\" (instance)))").concurrency);
        assert!(!needs("(component (type (func (result u32))))").concurrency);
    }

    #[test]
    fn what_is_no_component_is_an_error() {
        assert!(EngineNeeds::read(b"\0asm").is_err());
    }
}
