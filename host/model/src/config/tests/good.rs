//! Tests what is read from applications without faults.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use ::http::{HeaderName, StatusCode};

use super::*;
use crate::config::capability::Declarations;
use crate::ids::CapabilityName;

/// The manifest that the documentation shows.
pub(super) const MANIFEST: &str = r#"[app]
name   = "demo"
listen = "127.0.0.1:9080"
admin  = "[::1]:9081"
state  = "data"                   # relative to this file
routes = ["routes/*.toml"]

[modules.alpha]
component = "alpha-go"            # a module folder beside this file, or a .wasm file
calls     = ["beta", "gamma"]
uses      = [
  "sql", "logging",
  "clocks", "random", "config", "keyvalue", "http", "context",
]
config    = { currency = "EUR" }

[modules.beta]
component = "built/beta.wasm"

[modules.gamma]
component = "gamma"

[defaults.instances]
mode = "fresh"
max_calls = 5_000
idle = "10s"
concurrent = 20
warm = 3

[defaults.limits]
memory = "64MiB"
request = "5s"
calls = 8
body = "64KiB"

[compartments.core]
modules = ["alpha", "beta"]
instances = { mode = "reuse" }
limits.memory = "1GiB"

[http]
in_flight = 10
connections = 20
header_timeout = "1500ms"
drain = "0s"

[log]
format = "json"
level = "debug"

[telemetry]
otlp = "http://127.0.0.1:4318"
ratio = 0.25
queue = 100
interval = "1s"
timeout = "2s"
"#;

/// The route that the documentation shows, and the shortest possible one.
pub(super) const ROUTES: &str = r#"[[route]]
method = "POST"
path   = "/greetings/{greeting_id}"
call   = "alpha/alpha.place-greeting"
body   = "draft"
headers = { "idempotency-key" = "Idempotency-Key" }
status = 201
errors = { not-found = 404, storage = 500 }

[[route]]
method = "GET"
path = "/greetings"
call = "beta/demo:beta/queries@1.0.0.list"
[route.errors]
storage = 503
"#;

const SMALL: &str = "app.name = \"demo\"\nmodules.a.component = \"a\"\n";

#[test]
fn the_documentation_s_example_is_read() {
    let folder = folder(&[("modules/app.toml", MANIFEST), ("modules/routes/a.toml", ROUTES), ("wit/.keep", "")]);
    let app = load(folder.path(), &Overrides::default()).unwrap();
    let root = folder.path().join("modules");

    assert_eq!((app.name.as_str(), &app.root, &app.manifest), ("demo", &root, &root.join("app.toml")));
    assert_eq!((app.listen.to_string().as_str(), app.admin.to_string().as_str()), ("127.0.0.1:9080", "[::1]:9081"));
    assert_eq!((&app.state, app.workspace.as_path()), (&root.join("data"), folder.path()));

    let modules: Vec<(&str, u32, &Path)> =
        app.modules.iter().map(|(name, module)| (name.as_str(), module.line, module.component.file())).collect();
    let built = folder.path().join("target/components");
    assert_eq!(
        modules,
        [
            ("alpha", 8, built.join("alpha-go.wasm").as_path()),
            ("beta", 17, root.join("built/beta.wasm").as_path()),
            ("gamma", 20, built.join("gamma.wasm").as_path()),
        ]
    );
    let alpha = &app.modules[&"alpha".parse().unwrap()];
    assert_eq!(
        alpha.calls.iter().map(|(name, line)| (name.as_str(), line)).collect::<Vec<_>>(),
        [("beta", 10), ("gamma", 10)]
    );
    let declared: BTreeSet<_> =
        Declarations::default().all().iter().map(|declaration| declaration.name.clone()).collect();
    assert_eq!(alpha.uses.keys().cloned().collect::<BTreeSet<_>>(), declared);
    assert_eq!((alpha.uses[CapabilityName::SQL], alpha.uses[CapabilityName::RANDOM]), (12, 13));
    assert_eq!(alpha.config["currency"].value, ValueSource::Text("EUR".to_owned()));

    let instances = Instances {
        mode: InstanceMode::Fresh,
        max_calls: 5000.try_into().unwrap(),
        idle: Duration::from_secs(10),
        concurrent: 20.try_into().unwrap(),
        warm: 3,
    };
    let limits =
        Limits { memory: 64 << 20, request: Duration::from_secs(5), calls: 8, body: 65536, ..Limits::default() };
    assert_eq!(app.defaults, Defaults { instances, limits });
    let core = &app.compartments[&"core".parse().unwrap()];
    assert_eq!(core.modules, BTreeSet::from(["alpha".parse().unwrap(), "beta".parse().unwrap()]));
    assert_eq!(core.instances, Instances { mode: InstanceMode::Reuse, ..instances });
    assert_eq!((core.limits, core.line), (Limits { memory: 1 << 30, ..limits }, 36));

    let header_timeout = Duration::from_millis(1500);
    let http =
        HttpLimits { in_flight: 10, connections: 20, header_timeout, drain: Duration::ZERO, ..HttpLimits::default() };
    assert_eq!(app.http, http);
    assert_eq!(app.log, LogConfig { format: LogFormat::Json, level: LogLevel::Debug, ..LogConfig::default() });
    let TracingConfig { otlp, ratio, queue, interval, timeout } = app.telemetry;
    assert_eq!((otlp, f64::from(ratio)), (Some("http://127.0.0.1:4318".parse().unwrap()), 0.25));
    assert_eq!((queue, interval, timeout), (100, Duration::from_secs(1), Duration::from_secs(2)));
}

#[test]
fn routes_are_read() {
    let app = load_files(&[("app.toml", MANIFEST), ("routes/a.toml", ROUTES)]).unwrap();
    let [first, second] = app.routes.as_slice() else { panic!("{:#?}", app.routes) };

    assert!(first.file.ends_with("routes/a.toml"));
    assert_eq!((first.line, first.method, first.path.as_str()), (1, Method::Post, "/greetings/{greeting_id}"));
    assert_eq!((first.call.to_string().as_str(), first.call.line), ("alpha/alpha.place-greeting", 4));
    assert_eq!(
        first.body,
        Some(LocatedValue {
            value: BodyBinding {
                format: BodyFormat::Json,
                target: BodyTarget::Parameter("draft".to_owned()),
                types: vec![]
            },
            line: 5
        })
    );
    assert_eq!(first.bindings["idempotency-key"].value, Binding::Header(HeaderName::from_static("idempotency-key")));
    let errors: Vec<(&str, u16, u32)> =
        first.errors.iter().map(|(case, error)| (case.as_str(), error.status.as_u16(), error.line)).collect();
    assert_eq!(
        (&first.status, errors),
        (&SuccessStatus::One(StatusCode::CREATED), vec![("not-found", 404, 8), ("storage", 500, 8)])
    );

    assert_eq!((second.line, second.method, &second.status), (10, Method::Get, &SuccessStatus::default()));
    assert_eq!((&second.body, second.bindings.len(), second.errors["storage"].line), (&None, 0, 15));
}

#[test]
fn the_defaults_hold_where_nothing_is_said() {
    let folder = folder(&[("app.toml", SMALL)]);
    let app = load(&folder.path().join("app.toml"), &Overrides::default()).unwrap();
    assert_eq!((app.listen.to_string().as_str(), app.admin.to_string().as_str()), ("127.0.0.1:8080", "127.0.0.1:8081"));
    assert_eq!((app.state, app.workspace), (folder.path().join(".watertight"), folder.path().to_owned()));
    assert_eq!((app.defaults, app.http, app.log, app.telemetry), Default::default());
    assert!(app.routes.is_empty() && app.compartments.is_empty());
    let Limits { memory, request, .. } = app.defaults.limits;
    assert_eq!((memory, request), (256 << 20, Duration::from_secs(30)));
}

#[test]
fn the_command_line_goes_before_the_manifest() {
    let folder = folder(&[("app.toml", MANIFEST), ("routes/a.toml", "")]);
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    let mut overrides = Overrides {
        listen: Some(address("0.0.0.0:1")),
        admin: Some(address("0.0.0.0:2")),
        probe: Some(address("0.0.0.0:3")),
        state: Some("here".into()),
        otlp: Some("http://other".parse().unwrap()),
        components: Some("built".into()),
        fakes: BTreeMap::new(),
        capabilities: Declarations::default(),
    };
    let app = load(folder.path(), &overrides).unwrap();
    assert_eq!(app.telemetry.otlp, overrides.otlp);
    assert_eq!((app.listen, app.admin, app.state), (address("0.0.0.0:1"), address("0.0.0.0:2"), "here".into()));
    assert_eq!(app.probe, overrides.probe);

    overrides.admin = overrides.listen;
    let problems = load(folder.path(), &overrides).unwrap_err();
    assert_eq!((problems.as_slice()[0].code, problems.as_slice()[0].line), (Code::Duplicate, Some(4)));
    overrides.admin = Some(address("0.0.0.0:2"));
    overrides.probe = overrides.admin;
    let problems = load(folder.path(), &overrides).unwrap_err();
    assert_eq!(problems.as_slice()[0].message, "`admin` and `probe` are both 0.0.0.0:2");

    // The system picks different ports.
    overrides = Overrides {
        listen: Some(address("[::1]:0")),
        admin: Some(address("[::1]:0")),
        probe: Some(address("[::1]:0")),
        state: None,
        otlp: None,
        components: None,
        fakes: BTreeMap::new(),
        capabilities: Declarations::default(),
    };
    assert!(load(folder.path(), &overrides).is_ok());
}

#[test]
fn a_folder_whose_name_looks_like_a_glob_is_a_folder() {
    let manifest = SMALL.to_owned() + "app.routes = [\"routes/*.toml\", \"routes/[ab].toml\"]\n";
    let files = [
        ("[x]*/app.toml", manifest.as_str()),
        ("[x]*/routes/a.toml", &ROUTES.replace("alpha/", "a/").replace("beta/d", "a/d")),
    ];
    let folder = folder(&files);
    let app = load(&folder.path().join("[x]*"), &Overrides::default()).unwrap();
    assert_eq!(app.routes.len(), 2, "a file that two globs find is read once");
}

#[test]
fn one_path_may_have_many_methods_and_literals_go_before_parameters() {
    let route =
        |method: &str, path: &str| format!("[[route]]\nmethod = \"{method}\"\npath = \"{path}\"\ncall = \"a/a.b\"\n");
    let routes = [route("GET", "/x/{a}"), route("PUT", "/x/{b}"), route("GET", "/x/y"), route("GET", "/")].concat();
    let manifest = SMALL.to_owned() + "app.routes = [\"r.toml\"]\n";
    assert_eq!(load_files(&[("app.toml", &manifest), ("r.toml", &routes)]).unwrap().routes.len(), 4);
}

#[test]
fn a_mount_takes_everything_below_its_path_unless_it_says_otherwise() {
    let routes = "[[mount]]\npath = \"/\"\nmodule = \"a\"\n\n[[mount]]\npath = \"/b/c\"\nmodule = \"a\"\nstrip = true\n\
                  methods = [\"GET\", \"PURGE\"]\n";
    let manifest = SMALL.to_owned() + "app.routes = [\"r.toml\"]\n";
    let mounts = load_files(&[("app.toml", &manifest), ("r.toml", routes)]).unwrap().mounts;
    let [first, second] = mounts.as_slice() else { panic!("{mounts:#?}") };
    assert_eq!((first.path.as_str(), first.module.as_str(), first.line), ("/", "a", 1));
    assert_eq!((first.strip, &first.methods), (false, &None));
    assert_eq!((second.path.as_str(), second.path.line, second.strip), ("/b/c", 6, true));
    let methods: Vec<&str> = second.methods.iter().flatten().map(::http::Method::as_str).collect();
    assert_eq!(methods, ["GET", "PURGE"]);
}

#[test]
fn a_stream_may_go_on_unless_the_manifest_bounds_it() {
    let stream = |limits: &str| {
        let manifest = format!("{SMALL}{limits}\n[compartments.x]\nmodules = [\"a\"]\nlimits.stream.total = \"off\"\n");
        let app = load_files(&[("app.toml", &manifest)]).unwrap();
        (app.defaults.limits.stream, app.compartments.into_values().next().unwrap().limits)
    };
    let (all, own) = stream("");
    assert_eq!((all, own.stream), (StreamLimits::default(), StreamLimits::default()));
    assert_eq!((all.idle, all.total), (Duration::from_secs(30), None));
    let (all, own) = stream("[defaults.limits.stream]\nidle = \"1s\"\ntotal = \"24h\"");
    let idle = Duration::from_secs(1);
    assert_eq!(all, StreamLimits { idle, total: Some(Duration::from_secs(24 * 60 * 60)) });
    assert_eq!(own.stream, StreamLimits { idle, total: None });
    let entries: Vec<(&str, String)> =
        own.entries().into_iter().filter(|(key, _)| key.starts_with("limits.stream.")).collect();
    assert_eq!(entries, [("limits.stream.idle", "1s".to_owned()), ("limits.stream.total", "off".to_owned())]);
}

#[test]
fn a_module_is_resumed_each_minute_unless_it_says_otherwise() {
    let manifest = "[app]\nname = \"demo\"\n[modules.a]\ncomponent = \"a\"\n[modules.b]\ncomponent = \"b\"\nresume = \"5m\"\n\
                    [modules.c]\ncomponent = \"c\"\nresume = \"off\"\n";
    let config = load_files(&[("app.toml", manifest)]).unwrap();
    let times: Vec<_> = config.modules.values().map(|module| module.resume).collect();
    assert_eq!(times, [Some(Duration::from_secs(60)), Some(Duration::from_secs(300)), None]);
}

/// A faked module keeps its table in the manifest, but what the table grants doesn't count, and no compartment holds it.
#[test]
fn a_fake_takes_the_place_of_a_module() {
    let manifest = "[app]\nname = \"a\"\n[modules.one]\ncomponent = \"one\"\ncalls = [\"two\"]\n\
                    [modules.two]\ncomponent = \"two\"\ncalls = [\"three\"]\nuses = [\"sql\"]\n\
                    secrets = { key = { env = \"KEY\" } }\n[modules.three]\ncomponent = \"three\"\n\
                    [compartments.both]\nmodules = [\"one\", \"two\"]\n[compartments.alone]\nmodules = [\"three\"]\n";
    let folder = folder(&[("app.toml", manifest)]);
    let name = |text: &str| text.parse::<ModuleName>().unwrap();
    let fakes = |names: &[&str]| Overrides {
        fakes: names.iter().map(|text| (name(text), "fake.wasm".into())).collect(),
        ..Overrides::default()
    };
    let app = load(folder.path(), &fakes(&["two", "three"])).unwrap();
    let faked = &app.modules[&name("two")];
    assert!(faked.is_fake && faked.uses.is_empty() && faked.secrets.is_empty());
    assert_eq!((faked.calls.modules().count(), faked.component.value.file()), (0, Path::new("fake.wasm")));
    assert!(!app.modules[&name("one")].is_fake);
    let held: Vec<_> = app.compartments.values().flat_map(|compartment| &compartment.modules).collect();
    assert_eq!((app.compartments.len(), held), (1, vec![&name("one")]));

    let problems = load(folder.path(), &fakes(&["four"])).unwrap_err();
    assert_eq!(problems.as_slice()[0].code, Code::UnknownName);
    assert!(problems.as_slice()[0].message.contains("`four` can't be faked"));
}
