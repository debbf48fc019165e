//! A test module whose functions return their parameters.
#![cfg(target_arch = "wasm32")]

mod bindings;

use bindings::exports::test::exact::values::{Amount, Floating, Guest, Mixed, Money, Narrow, One, Plain, Problem};

/// The type that implements the component's exports.
pub(crate) struct Component;

impl Guest for Component {
    fn signed(n: i64) -> i64 {
        n
    }

    fn unsigned(n: u64) -> u64 {
        n
    }

    fn words(n: i64) -> String {
        n.to_string()
    }

    fn unsigned_words(n: u64) -> String {
        n.to_string()
    }

    fn parsed(text: String) -> i64 {
        text.parse().unwrap_or_default()
    }

    fn unsigned_parsed(text: String) -> u64 {
        text.parse().unwrap_or_default()
    }

    fn in_record(n: Money) -> Money {
        n
    }

    fn in_short_record(n: One) -> One {
        n
    }

    fn in_variant(n: Amount) -> Amount {
        n
    }

    fn in_tuple(n: (i64, u64, u8)) -> (i64, u64, u8) {
        n
    }

    fn in_option(n: Option<i64>) -> Option<i64> {
        n
    }

    fn in_unsigned_option(n: Option<u64>) -> Option<u64> {
        n
    }

    fn in_list(n: Vec<i64>) -> Vec<i64> {
        n
    }

    fn in_unsigned_list(n: Vec<u64>) -> Vec<u64> {
        n
    }

    fn in_list_of_records(n: Vec<Money>) -> Vec<Money> {
        n
    }

    fn in_list_of_results(n: Vec<Result<i64, u64>>) -> Vec<Result<i64, u64>> {
        n
    }

    fn as_result(n: Result<i64, u64>) -> Result<i64, u64> {
        n
    }

    fn as_error(n: i64) -> Result<u64, i64> {
        Err(n)
    }

    fn as_problem(n: Problem) -> Result<i64, Problem> {
        Err(n)
    }

    fn half(n: u32) -> u32 {
        n
    }

    fn signed_half(n: i32) -> i32 {
        n
    }

    fn real(n: f64) -> f64 {
        n
    }

    fn single(n: f32) -> f32 {
        n
    }

    fn in_mixed(n: Mixed) -> Mixed {
        n
    }

    fn in_narrow(n: Narrow) -> Narrow {
        n
    }

    fn in_plain(n: Plain) -> Plain {
        n
    }

    fn in_floating(n: Floating, _: Option<u32>) -> Floating {
        n
    }

    fn in_many(
        a: i64,
        b: u64,
        c: i64,
        d: u64,
        e: i64,
        f: u64,
        g: i64,
        h: u64,
        i: i64,
        j: u64,
        k: i64,
        l: u64,
        m: i64,
        n: u64,
        o: i64,
        p: u64,
        q: i64,
    ) -> Vec<String> {
        let signed = [a, c, e, g, i, k, m, o, q].map(|one| one.to_string());
        let unsigned = [b, d, f, h, j, l, n, p].map(|one| one.to_string());
        let mut all = Vec::new();
        let mut unsigned = unsigned.into_iter();
        for one in signed {
            all.push(one);
            all.extend(unsigned.next());
        }
        all
    }

    fn in_small(
        a: i8,
        b: u8,
        c: i16,
        d: u16,
        e: i32,
        f: u32,
        g: bool,
        h: char,
        i: Vec<u8>,
        j: Vec<i32>,
        k: Vec<bool>,
    ) -> Vec<String> {
        fn joined<T: ToString>(list: &[T]) -> String {
            list.iter().map(T::to_string).collect::<Vec<_>>().join(",")
        }
        vec![
            a.to_string(),
            b.to_string(),
            c.to_string(),
            d.to_string(),
            e.to_string(),
            f.to_string(),
            g.to_string(),
            h.to_string(),
            joined(&i),
            joined(&j),
            joined(&k),
        ]
    }
}
