//! The capability `rates`: converts amounts of money between currencies, at the rates that the manifest gives the calling module.
//!
//! It shows every part of a capability: a WIT interface, a grant, settings of each module, data that the instances of a module share, state
//! of a store that ends with each call, and a limit of each call.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use watertight::capability::{
    CallContext, Capability, CapabilityLinker, Declaration, InstanceState, LimitKind, ModuleContext, ModuleIndex,
    Problems, ReadSettings, SharedData, StoreState, Table, Value,
};
use watertight::wasmtime::{self, component::HasSelf};

use bindings::acme::rates::rates::Error;
use bindings::named_imports::acme::rates::rates::{Host, add_to_linker};

mod bindings {
    //! Host bindings, generated from the WIT file that guests are built against.
    #![allow(missing_docs, unreachable_pub, clippy::needless_pass_by_value)]

    watertight::wasmtime::component::bindgen!({
        path: "wit/rates",
        inline: "package acme:host; world capability { import acme:rates/rates@1.0.0; }",
        world: "acme:host/capability",
        wasmtime_crate: watertight::wasmtime,
        imports: { default: trappable },
        // The first argument of every function is the module that calls it.
        named_imports: { "acme:rates/rates@1.0.0": watertight::capability::ModuleIndex },
    });
}

/// The capability `rates`. It needs no data of its own: everything comes from the manifest.
pub(crate) struct Rates;

/// The settings of a module, from the table `[modules.NAME.rates]` of the manifest.
#[derive(Debug, Clone, PartialEq)]
struct Settings {
    /// The value of one unit of each currency in the base currency, in millionths.
    rates: BTreeMap<String, u32>,
    /// Greatest number of conversions in one call. Default: 100.
    conversions: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { rates: BTreeMap::new(), conversions: 100 }
    }
}

impl Settings {
    const CONVERSIONS: RangeInclusive<u32> = 1..=10_000;
    const RATE: RangeInclusive<u32> = 1..=u32::MAX;
}

impl ReadSettings for Settings {
    fn read(table: &mut Table<'_>) -> Self {
        let conversions = table.count("conversions", Self::CONVERSIONS, Self::default().conversions);
        let rates = table.optional("millionths").and_then(|value| {
            value.table(|currencies| {
                // A value with a fault is reported with its line, and left out.
                let read = |(currency, value): (&str, _)| Some((currency.to_owned(), rate(&value)?));
                currencies.entries().into_iter().filter_map(read).collect()
            })
        });
        Self { rates: rates.unwrap_or_default(), conversions }
    }
}

fn rate(value: &Value<'_>) -> Option<u32> {
    value.count(Settings::RATE)
}

/// How many conversions the current call has made so far, for each module of the store.
#[derive(Default)]
struct Conversions(Vec<(ModuleIndex, u32)>);

impl StoreState for Conversions {
    fn begin_call(&mut self, _: &CallContext) {
        self.0.clear();
    }
}

impl Conversions {
    /// Counts a conversion by the module, and returns the module's number so far.
    fn count(&mut self, module: ModuleIndex) -> u32 {
        let place = self.0.iter().position(|(other, _)| *other == module).unwrap_or_else(|| {
            self.0.push((module, 0));
            self.0.len() - 1
        });
        self.0[place].1 += 1;
        self.0[place].1
    }
}

impl Capability for Rates {
    fn declaration(&self) -> Declaration {
        Declaration::new("rates".parse().expect("it is kebab-case"))
            .interface("acme:rates/rates@1.0.0".parse().expect("it is the name of an interface"))
            .wit(include_str!("../wit/rates/rates.wit"))
            .settings::<Settings>()
    }

    fn prepare(&self, module: &ModuleContext<'_>) -> Result<Option<SharedData>, Problems> {
        let settings = module.config.settings_of::<Settings>("rates").cloned().unwrap_or_default();
        Ok(Some(Box::new(settings)))
    }

    fn add_to_linker(&self, linker: &mut CapabilityLinker<'_>) -> wasmtime::Result<()> {
        let (linker, component, module) = linker.named();
        add_to_linker::<_, HasSelf<_>>(linker, component, module, |state| state)
    }
}

impl Host for InstanceState {
    fn convert(
        &mut self,
        module: ModuleIndex,
        amount: i64,
        from: String,
        to: String,
    ) -> wasmtime::Result<Result<i64, Error>> {
        let limit = self.shared::<Settings>(module)?.conversions;
        if self.local::<Conversions>().count(module) > limit {
            self.report_limit(module, LimitKind::Capability, &format_args!("a call converts at most {limit} amounts"));
            return Ok(Err(Error::TooManyConversions(limit)));
        }
        let rates = &self.shared::<Settings>(module)?.rates;
        let rate = |currency: String| rates.get(&currency).copied().ok_or(Error::UnknownCurrency(currency));
        let converted = rate(from).and_then(|from| Ok((from, rate(to)?))).and_then(|(from, to)| {
            let exact = i128::from(amount) * i128::from(from) / i128::from(to);
            i64::try_from(exact).map_err(|_| Error::OutOfRange)
        });
        Ok(converted)
    }
}
