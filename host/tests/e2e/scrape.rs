//! A parser of the text of `/metrics`, which is as strict as the text format of Prometheus, and queries of the parsed metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use watertight_telemetry::table::{self, Kind, Metric};
use watertight_testkit::client::{client, send};
use watertight_testkit::host::Host;

type Labels = BTreeMap<String, String>;

/// All metrics of a host at one moment.
pub(crate) struct Scrape {
    text: String,
    /// The metric families, by name.
    families: BTreeMap<String, Family>,
}

/// All lines of one metric in the text.
#[derive(Debug, Default)]
struct Family {
    help: String,
    kind: String,
    /// The samples of the metric in their order. Each has the suffix of its name (`_bucket`, `_sum`, `_count` or empty), its labels and its
    /// value.
    samples: Vec<(String, Labels, f64)>,
}

/// The number of observations of a histogram, and their sum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct HistogramTotals {
    pub(crate) count: f64,
    pub(crate) sum: f64,
}

impl Scrape {
    /// Asks a host for its metrics.
    pub(crate) async fn of(host: &Host) -> Self {
        let answer = send(client().get(host.admin_url("/metrics"))).await.expect(200);
        assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4");
        Self::read(&answer.text)
    }

    /// Parses a text. Panics on an invalid line, on a family whose lines don't directly follow its HELP and TYPE, on a duplicate series, on
    /// labels that differ within a family, and on a histogram whose buckets don't add up.
    pub(crate) fn read(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line has no line break");
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        let (mut current, mut seen) = (String::new(), BTreeSet::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert_name(name);
                let family = Family { help: help.to_owned(), ..Family::default() };
                assert!(families.insert(name.to_owned(), family).is_none(), "twice: {line}");
                current = name.to_owned();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(name, current, "TYPE doesn't follow its HELP");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                families.get_mut(name).unwrap().kind = kind.to_owned();
            } else {
                let (series, number) = line.rsplit_once(' ').unwrap();
                assert!(seen.insert(series), "twice: {line}");
                let (name, labels) = read_series(series);
                let family = families.get_mut(&current).unwrap_or_else(|| panic!("of no family: {line}"));
                let suffix = name.strip_prefix(&*current).unwrap_or_else(|| panic!("of another family: {line}"));
                let fits = match &*family.kind {
                    "histogram" => ["_bucket", "_sum", "_count"].contains(&suffix),
                    kind => !kind.is_empty() && suffix.is_empty(),
                };
                assert!(fits, "not of its kind: {line}");
                family.samples.push((suffix.to_owned(), labels, number.parse().unwrap()));
            }
        }
        let read = Self { text: text.to_owned(), families };
        read.families.iter().for_each(|(name, family)| family.check(name));
        read
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the names of all metrics.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        self.families.keys().map(String::as_str).collect()
    }

    /// Returns every series: a line of the text that has a value, without the value.
    pub(crate) fn series(&self) -> BTreeSet<&str> {
        let lines = self.text.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.rsplit_once(' ').unwrap().0).collect()
    }

    /// Returns a metric's type, such as `counter`, and its help text.
    pub(crate) fn described(&self, name: &str) -> (&str, &str) {
        let family = &self.families[name];
        (&family.kind, &family.help)
    }

    /// Returns the names of a metric's labels.
    pub(crate) fn labels(&self, name: &str) -> BTreeSet<&str> {
        let samples = self.families[name].samples.iter();
        samples.flat_map(|(_, labels, _)| labels.keys().map(String::as_str)).filter(|label| *label != "le").collect()
    }

    /// Returns all series of a metric that have these labels, each with its value. The value of a histogram is its number of observations.
    fn matching(&self, metric: &Metric, labels: &[(&str, &str)]) -> Vec<(&Labels, f64)> {
        let suffix = if metric.kind == Kind::Histogram { "_count" } else { "" };
        self.samples(metric, suffix, labels)
    }

    fn samples(&self, metric: &Metric, suffix: &str, wanted: &[(&str, &str)]) -> Vec<(&Labels, f64)> {
        let samples = self.families.get(metric.name).map_or(&[][..], |family| &family.samples);
        let has = |own: &Labels| wanted.iter().all(|(key, value)| own.get(*key).is_some_and(|own| own == value));
        let found = samples.iter().filter(|(own, labels, _)| own == suffix && has(labels));
        found.map(|(_, labels, number)| (labels, *number)).collect()
    }

    /// Returns the value of the only series with all these labels, if it exists.
    pub(crate) fn find(&self, metric: &Metric, labels: &[(&str, &str)]) -> Option<f64> {
        assert_eq!(labels.len(), metric.labels.len(), "{} has the labels {:?}", metric.name, metric.labels);
        self.matching(metric, labels).first().map(|(_, value)| *value)
    }

    /// Returns the value of the only series with all these labels.
    pub(crate) fn value(&self, metric: &Metric, labels: &[(&str, &str)]) -> f64 {
        self.find(metric, labels).unwrap_or_else(|| panic!("there is no {} {labels:?}:\n{}", metric.name, self.text))
    }

    /// Returns the sum of all series that have these labels.
    pub(crate) fn sum(&self, metric: &Metric, labels: &[(&str, &str)]) -> f64 {
        self.matching(metric, labels).into_iter().map(|(_, value)| value).sum()
    }

    /// Returns the totals of the histogram with these labels.
    pub(crate) fn histogram(&self, metric: &Metric, labels: &[(&str, &str)]) -> HistogramTotals {
        let [sum] = self.samples(metric, "_sum", labels)[..] else { panic!("{} {labels:?}", metric.name) };
        HistogramTotals { count: self.value(metric, labels), sum: sum.1 }
    }

    /// Panics if a counter of the earlier metrics `before` is missing here, or has a smaller value.
    pub(crate) fn grew_from(&self, before: &Scrape) {
        for metric in table::ALL.iter().filter(|metric| metric.kind != Kind::Gauge) {
            for (labels, value) in before.matching(metric, &[]) {
                let labels: Vec<(&str, &str)> = labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
                let now = self.find(metric, &labels);
                assert!(now.is_some_and(|now| now >= value), "{} {labels:?}: {now:?} after {value}", metric.name);
            }
        }
    }
}

impl Family {
    fn check(&self, name: &str) {
        assert!(!self.help.is_empty() && !self.samples.is_empty(), "{name} says nothing");
        let names = |labels: &Labels| labels.keys().filter(|label| *label != "le").cloned().collect::<Vec<_>>();
        let (_, first, _) = &self.samples[0];
        assert!(self.samples.iter().all(|(_, labels, _)| names(labels) == names(first)), "{name}: labels differ");
        if self.kind != "histogram" {
            return;
        }
        let mut buckets: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
        for (suffix, labels, number) in &self.samples {
            assert_eq!(suffix == "_bucket", labels.contains_key("le"), "{name}");
            let mut labels = labels.clone();
            let bound = labels.remove("le");
            let own = buckets.entry(labels).or_default();
            match (&**suffix, bound) {
                ("_bucket", Some(bound)) => own.push((bound.parse().unwrap(), *number)),
                ("_count", None) => assert_eq!(own.last(), Some(&(f64::INFINITY, *number)), "{name}"),
                _ => {}
            }
            assert!(own.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{name}: a bucket holds all smaller ones");
        }
    }
}

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn assert_name(name: &str) {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    let good = name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit());
    assert!(good, "`{name}` is no name");
}

/// Parses `name` or `name{label="value",…}`.
fn read_series(text: &str) -> (&str, Labels) {
    let (name, rest) = text.split_at(text.find('{').unwrap_or(text.len()));
    assert_name(name);
    let mut labels = Labels::new();
    let Some(mut rest) = rest.strip_prefix('{') else { return (name, labels) };
    loop {
        let (label, quoted) = rest.split_once("=\"").unwrap_or_else(|| panic!("no label: {text}"));
        assert_name(label);
        let (mut value, mut characters) = (String::new(), quoted.chars());
        loop {
            match characters.next().unwrap_or_else(|| panic!("no end: {text}")) {
                '"' => break,
                '\\' => value.push(match characters.next() {
                    Some('n') => '\n',
                    Some(c @ ('\\' | '"')) => c,
                    other => panic!("\\{other:?} in {text}"),
                }),
                c => value.push(c),
            }
        }
        assert!(labels.insert(label.to_owned(), value).is_none(), "twice: {text}");
        rest = characters.as_str();
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => break,
        }
    }
    assert_eq!(rest, "}", "{text}");
    (name, labels)
}

#[test]
#[should_panic(expected = "a bucket holds all smaller ones")]
fn buckets_that_shrink_are_refused() {
    Scrape::read("# HELP a b\n# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n");
}

#[test]
#[should_panic(expected = "twice")]
fn a_series_that_is_there_twice_is_refused() {
    Scrape::read("# HELP a b\n# TYPE a counter\na{b=\"c\"} 2\na{b=\"c\"} 1\n");
}
