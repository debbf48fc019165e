//! Tests files with faults. Each row is one application; notes in its text say what must be reported.

use super::*;

/// The part of a manifest that every application in the tests needs.
const APP: &str = "[app]\nname = \"demo\"\n";
const MODULES: &str = "[modules.a]\ncomponent = \"a\"\n[modules.b]\ncomponent = \"b\"\n";

/// Checks manifests, each with `rest` appended, against the notes in their texts.
fn check_all(rest: &str, manifests: &[&str]) {
    for manifest in manifests {
        check(&[("app.toml", &format!("{manifest}\n{rest}"))]);
    }
}

#[test]
fn in_app() {
    check_all(
        MODULES,
        &[
            "app.name = 1 #~ bad-value: `app.name` must be a string, and is a whole number",
            "app.name = \"Demo\" #~ bad-value: `app.name`: `Demo` is not an application name",
            "app.name = \"\" #~ bad-value: is not an application name",
            "[app] #~ missing-key: the key `app.name` is missing",
            "app = [] #~ bad-value: `app` must be a table, and is a list",
            "[[app]] #~ bad-value: must be a table",
            "[app] #~ missing-key: `app.name`\nnome = \"demo\" #~ unknown-key: there is no key `app.nome`\nx.y = 1 #~ unknown-key: `app.x`",
            "app.name = \"demo\"\nappp.name = \"x\" #~ unknown-key: there is no key `appp`",
            "[app]\nname = \"demo\"\nlisten = \"localhost\" #~ bad-value: `app.listen`: `localhost` is not an IP address with a port",
            "[app]\nname = \"demo\"\nadmin = 8081 #~ bad-value: `app.admin` must be a string",
            "[app]\nname = \"demo\"\nadmin = \"127.0.0.1:99999\" #~ bad-value: `app.admin`",
            "[app]\nname = \"demo\"\nlisten = \"127.0.0.1:8081\" #~ duplicate: are both 127.0.0.1:8081",
            "[app]\nname = \"demo\"\nstate = \"\" #~ bad-value: `app.state`",
            "[app]\nname = \"demo\"\nroutes = \"a.toml\" #~ bad-value: `app.routes` must be a list, and is a string",
            "[app]\nname = \"demo\"\nroutes = [\n  1, #~ bad-value: `app.routes[0]`\n  true, #~ bad-value: `app.routes[1]`\n]",
            "[app]\nname = \"demo\"\nroutes = [\n  \"none/*.toml\", #~ unreadable: finds no file\n  \"[\", #~ bad-value: `[`\n]",
        ],
    );
    check_all("", &["[modules.a] #~ missing-key: the key `app` is missing\ncomponent = \"a\""]);
}

#[test]
fn in_modules() {
    check_all(
        APP,
        &[
            "[modules] #~ missing-key: at least one module",
            "modules = 1 #~ bad-value: `modules` must be a table",
            "modules.a = \"a.wasm\" #~ bad-value: `modules.a` must be a table, and is a string",
            "[modules.a] #~ missing-key: the key `modules.a.component` is missing",
            "[modules.A_b] #~ bad-value: `A_b` is not a module name\ncomponent = 1 #~ bad-value: `modules.A_b.component`",
            "[modules.a]\ncomponent = \"\" #~ bad-value: neither the name of a folder",
            "[modules.a]\ncomponent = \"../a\" #~ bad-value: neither the name of a folder",
            "[modules.a]\ncomponent = \"/a\" #~ bad-value: neither the name of a folder",
            "[modules.a]\ncomponent = \"x/a\" #~ bad-value: neither the name of a folder",
            "[modules.a]\ncomponent = \"a\"\ncalls = [\"c\"] #~ unknown-name: there is no module `c`",
            "[modules.a]\ncomponent = \"a\"\ncalls = [\"a\"] #~ cycle: `calls` of module `a` names the module itself",
            "[modules.a]\ncomponent = \"a\"\ncalls = { add = \"c.plus\" } #~ unknown-name: there is no module `c`",
            "[modules.a]\ncomponent = \"a\"\ncalls = { \"a:b/c\" = \"c.plus\" } #~ bad-value: only a function that a world imports itself",
            "[modules.a]\ncomponent = \"a\"\ncalls = { add = \"c/d.plus\" } #~ bad-value: only a function that a world imports itself",
            "[modules.a]\ncomponent = \"a\"\ncalls = { add = \"c.Plus one\" } #~ bad-value: a function such as",
            "[modules.a]\ncomponent = \"a\"\ncalls = [\"b\",\n\"b\"] #~ duplicate: `b` is in the list twice\n[modules.b] #~ missing-key: component",
            "[modules.a]\ncomponent = \"a\"\nresume = 60 #~ bad-value: `modules.a.resume`: a number has no unit",
            "[modules.a]\ncomponent = \"a\"\nresume = \"0s\" #~ bad-value: `modules.a.resume`: `0s` is not within 1s",
            "[modules.a]\ncomponent = \"a\"\nresume = \"never\" #~ bad-value: `modules.a.resume`: `never` is not",
            "[modules.a]\ncomponent = \"a\"\nresume = false #~ bad-value: `modules.a.resume`",
            "[modules.a]\ncomponent = \"a\"\nuses = [\"sql\", \"sql\"] #~ duplicate: `sql` is in the list twice",
            "[modules.a]\ncomponent = \"a\"\nuses = [\n\"sql\",\n\"tcp\", #~ bad-value: `tcp` is none of `sql`, `logging`\n]",
            "[modules.a]\ncomponent = \"a\"\n[modules.a.http]\nallow = [\"https://a.com\",\n\"a.com\", #~ bad-value: `a.com` is not a scheme, a host and perhaps a port\n]",
            "[modules.a]\ncomponent = \"a\"\n[modules.a.http]\nprivate = \"no\" #~ bad-value: `modules.a.http.private` must be true or false",
            "[modules.a]\ncomponent = \"a\"\n[modules.a.http]\nconcurrent = 0 #~ bad-value: `0` is not within 1 and 10000",
            "[modules.a]\ncomponent = \"a\"\nuses = {} #~ bad-value: must be a list",
            "[modules.a]\ncomponent = \"a\"\nconfig = { n = 3 } #~ bad-value: `modules.a.config.n` must be a string",
            "[modules.a]\ncomponent = \"a\"\nconfig = { n = {} } #~ missing-key: `modules.a.config.n.env`",
            "[modules.a]\ncomponent = \"a\"\nconfig = { n = { env = \"N\", default = 1 } } #~ bad-value: `modules.a.config.n.default` must be a string",
            "[modules.a]\ncomponent = \"a\"\nconfig = { n = { env = \"A=B\" } } #~ bad-value: `A=B` is not the name of an environment variable",
            "[modules.a]\ncomponent = \"a\"\nconfig = { n = { env = \"WATERTIGHT_ADMIN_TOKEN\" } } #~ bad-value: one of the host's own variables",
            "[modules.a]\ncomponent = \"a\"\nsecrets = { n = \"hush\" } #~ bad-value: `modules.a.secrets.n` must be a table, and is a string",
            "[modules.a]\ncomponent = \"a\"\nsecrets = { n = {} } #~ bad-value: give a secret exactly one source: `file` or `env`",
            "[modules.a]\ncomponent = \"a\"\nsecrets = { n = { env = \"N\", file = \"n\" } } #~ bad-value: give a secret exactly one source",
            "[modules.a]\ncomponent = \"a\"\nsecrets = { n = { file = \"\" } } #~ bad-value: the text is empty; write the path of a file",
            "[modules.a]\ncomponent = \"a\"\nsecrets = { n = { env = \"N\", default = \"hush\" } } #~ unknown-key: `modules.a.secrets.n.default`",
            "[modules.a]\ncomponent = \"a\"\nconfig = { n = \"x\" }\nsecrets = { n = { env = \"N\" } } #~ duplicate: `n` is both in `config` and in `secrets`",
            "[modules.a]\ncomponent = \"a\"\nuse = [] #~ unknown-key: `modules.a.use`\ncall = [] #~ unknown-key: `modules.a.call`",
        ],
    );
}

#[test]
fn in_compartments() {
    check_all(
        &format!("{APP}{MODULES}"),
        &[
            "[compartments.x] #~ missing-key: `compartments.x.modules`",
            "[compartments.X] #~ bad-value: `X` is not a compartment name\nmodules = [\"a\"]",
            "[compartments.x]\nmodules = [] #~ bad-value: at least one module",
            "[compartments.x]\nmodules = [\"c\"] #~ unknown-name: there is no module `c`",
            "[compartments.x]\nmodules = [\"a\"]\n[compartments.y]\nmodules = [\n\"b\",\n\"a\", #~ duplicate: two compartments: `x` and `y`\n]",
            "[compartments.x]\nmodules = [\"a\"]\nlimits = { calls = 0 } #~ bad-value: `compartments.x.limits.calls`: `0` is not within 1 and 10000",
            "[compartments.x]\nmodules = [\"a\"]\ninstances.modes = 1 #~ unknown-key: `compartments.x.instances.modes`",
        ],
    );
}

#[test]
fn in_numbers() {
    check_all(
        &format!("{APP}{MODULES}"),
        &[
            "[defaults.instances]\nidle = 30 #~ bad-value: a number has no unit: write text such as `30s`",
            "[defaults.instances]\nidle = \"30\" #~ bad-value: `30` is not a duration with its unit",
            "[defaults.instances]\nidle = \"1ms\" #~ bad-value: `1ms` is not within 100ms and 1day",
            "[defaults.instances]\nmax_calls = 0 #~ bad-value: `0` is not within 1",
            "[defaults.instances]\nmax_calls = -1 #~ bad-value: `-1` is not within 1",
            "[defaults.instances]\nmax_calls = 0x1_0000_0000 #~ bad-value: is not within 1",
            "[defaults.instances]\nmax_calls = 1.5 #~ bad-value: must be a whole number, and is a fraction",
            "[defaults.instances]\nconcurrent = 1001 #~ bad-value: `1001` is not within 1",
            "[defaults.instances]\nmode = \"new\" #~ bad-value: `new` is none of `reuse`, `fresh`",
            "[defaults.limits]\nmemory = 256 #~ bad-value: a number has no unit: write text such as `256MiB`",
            "[defaults.limits]\nmemory = \"256\" #~ bad-value: `256` is not a size with its unit",
            "[defaults.limits]\nmemory = \"1B\" #~ bad-value: `1B` is not within 1MiB and 64GiB",
            "[defaults.limits]\nrequest = \"2h\" #~ bad-value: `2h` is not within 1ms and 1h",
            "[defaults.limits]\nstream = \"30s\" #~ bad-value: `defaults.limits.stream` must be a table",
            "[defaults.limits]\nstream.idle = \"off\" #~ bad-value: `off` is not a duration with its unit",
            "[defaults.limits]\nstream.total = \"1ms\" #~ bad-value: `1ms` is not within 1s and 1day",
            "[defaults.limits]\nstream.total = false #~ bad-value: `defaults.limits.stream.total` must be a string",
            "[defaults.limits]\nrequest = 07:32:00 #~ bad-value: must be a string, and is a date or time",
            "[defaults]\nlimit = {} #~ unknown-key: `defaults.limit`\ninstances = true #~ bad-value: must be a table",
            "[http]\nbody = \"1KiB\" #~ unknown-key: `http.body`\nin_flight = 0 #~ bad-value: `http.in_flight`\ndrain = \"x\" #~ bad-value: `http.drain`",
            "[http]\nheader-timeout = \"1s\" #~ unknown-key: `http.header-timeout`",
            "[http]\nproblems = \"https://example.com\" #~ bad-value: `https://example.com` is not the start of a URL",
            "[http]\nproblems = \"/a b/\" #~ bad-value: `/a b/` is not the start of a URL",
            "[telemetry]\notlp = \"127.0.0.1:4318\" #~ bad-value: `127.0.0.1:4318` is not a collector's address\nratio = \"all\" #~ bad-value: `telemetry.ratio` must be a number from 0 to 1",
            "[telemetry]\notlp = \"https://a\" #~ bad-value: without TLS\nratio = 1.5 #~ bad-value: `1.5` is not a number from 0 to 1",
            "[telemetry]\nratio = -1 #~ bad-value: `-1` is not a number from 0 to 1\nqueue = 0 #~ bad-value: is not within 1 and 1000000\nendpoint = 1 #~ unknown-key: there is no key `telemetry.endpoint`",
            "[telemetry]\nratio = nan #~ bad-value: `nan` is not a number from 0 to 1\ninterval = \"1ms\" #~ bad-value: is not within 10ms\ntimeout = 10 #~ bad-value: a number has no unit",
            "[log]\nformat = \"xml\" #~ bad-value: `xml` is none of `human`, `json`\nlevel = \"all\" #~ bad-value: `all` is none of `error`",
        ],
    );
}

#[test]
fn of_syntax() {
    check_all(
        "",
        &[
            "[app]\nname = #~ syntax: ",
            "[app]\nname = \"demo #~ syntax: ",
            "[app #~ syntax: \nname = 1",
            "[app]\nname = \"x\"\nname = \"y\" #~ syntax: duplicate key",
            "[modules.a]\n[modules.a] #~ syntax: duplicate key",
            "a = 1 = 2 #~ syntax: ",
        ],
    );
}

/// Checks route files, which may call the modules `a` and `b`, against the notes in their texts.
fn check_routes(files: &[&str]) {
    let manifest = format!("{APP}routes = [\"routes/*.toml\"]\n{MODULES}");
    let names: Vec<String> = (0..files.len()).map(|index| format!("routes/{index}.toml")).collect();
    let mut all = vec![("app.toml", manifest.as_str())];
    all.extend(names.iter().map(String::as_str).zip(files.iter().copied()));
    check(&all);
}

#[test]
fn in_routes() {
    let rows = [
        "[[route]] #~ missing-key: `route[0].method` #~ missing-key: `route[0].path` #~ missing-key: `route[0].call`",
        "route = {} #~ bad-value: `route` must be a list",
        "route = [\n1] #~ bad-value: `route[0]` must be a table",
        "[[routes]] #~ unknown-key: there is no key `routes`",
        "M\npath = \"x\" #~ route-conflict: a path starts with `/`",
        "M\npath = \"/x/\" #~ route-conflict: an empty segment",
        "M\npath = \"/{a-b}\" #~ route-conflict: write snake_case",
        "M\npath = 1 #~ bad-value: must be a string",
        "[[route]]\nmethod = \"get\" #~ bad-value: `get` is none of `GET`\npath = \"/\"\ncall = \"a/a.b\"",
        "[[route]]\nmethod = \"GET\"\npath = \"/\"\ncall = \"a.b.c\" #~ bad-value: is not a function such as",
        "[[route]]\nmethod = \"GET\"\npath = \"/\"\ncall = \"c/a.b\" #~ unknown-name: there is no module `c`",
        "M\npath = \"/\"\nstatus = 600 #~ bad-value: `600` is not within 200 and 599",
        "M\npath = \"/\"\nstatus = 301 #~ bad-value: an answer of status 301 needs a `Location`",
        "M\npath = \"/\"\nstatus = 302 #~ bad-value: an answer of status 302 needs a `Location`",
        "M\npath = \"/\"\nstatus = 303 #~ bad-value: an answer of status 303 needs a `Location`",
        "M\npath = \"/\"\nstatus = 307 #~ bad-value: an answer of status 307 needs a `Location`",
        "M\npath = \"/\"\nstatus = 308 #~ bad-value: an answer of status 308 needs a `Location`",
        "M\npath = \"/n/:n\" #~ route-conflict: write `{n}`",
        "M\npath = \"/m/*\" #~ route-conflict: a parameter takes exactly one segment",
        "M\npath = \"/\"\nstatus = 100 #~ bad-value: `100` is not within",
        "M\npath = \"/\"\nstatus = \"200\" #~ bad-value: must be a whole number",
        "M\npath = \"/\"\nerrors = { a = 99 } #~ bad-value: `route[0].errors.a`: `99` is not within 400 and 599",
        "M\npath = \"/\"\nerrors = { a_b = 404 } #~ bad-value: `a_b` is not the name of an error case",
        "M\npath = \"/\"\nbody = \"a_b\" #~ bad-value: neither a parameter name",
        "[[route]]\nmethod = \"GET\"\npath = \"/\"\ncall = \"a/a.b\"\nbody = \"*\" #~ bad-binding: a GET request has no body",
        "[[route]]\nmethod = \"HEAD\"\npath = \"/\"\ncall = \"a/a.b\"\nbody = \"x\" #~ bad-binding: a HEAD request has no body",
        "M\npath = \"/\"\nheaders = { a = \"a b\" } #~ bad-value: `a b` is not the name of a header",
        "M\npath = \"/\"\nheaders = { a = \"Host\" } #~ bad-value: `Host` is reserved for HTTP",
        "M\npath = \"/\"\nheaders = { a = \"Content-Length\" } #~ bad-value: is reserved for HTTP",
        "M\npath = \"/\"\nheaders = { 2a = \"x\" } #~ bad-value: `2a` is not the name of a parameter",
        "M\npath = \"/{a_b}\"\nbody = \"a-b\" #~ bad-binding: `a-b` is bound twice: by the path and the body",
        "M\npath = \"/{a_b}\"\nheaders = { a-b = \"x\" } #~ bad-binding: by the path and a header",
        "M\npath = \"/\"\nbody = \"x\" #~ bad-binding: by a header and the body\nheaders = { x = \"x\" }",
        "M\npath = \"/\"\nqueries = [] #~ unknown-key: `route[0].queries`\n\n[[route]]\nmethod = \"PUT\"\npath = \"/\"\ncall = \"a/a.b\"\n[route.error] #~ unknown-key: `route[1].error`\nx = 404",
        "M\npath = \"/\"\nquery = [] #~ bad-value: `route[0].query` must be a string",
        "M\npath = \"/\"\nstatus = { Created = 200 } #~ bad-value: `Created` is not the name of a case of the result",
        "M\npath = \"/\"\nstatus.created = 404.5 #~ bad-value: must be a whole number",
        "M\npath = \"/\"\nanswer = 1 #~ bad-value: `route[0].answer` must be a table",
        "M\npath = \"/\"\nanswer.vary = \"a\" #~ bad-value: `route[0].answer.vary` must be a list",
        "M\npath = \"/\"\nanswer.cookies.a = \"b\" #~ bad-value: `route[0].answer.cookies.a` must be a table",
        "[[route] #~ syntax: ",
    ];
    for row in rows {
        check_routes(&[&row.replace("M\n", "[[route]]\nmethod = \"POST\"\ncall = \"a/a.b\"\n")]);
    }
    let route = "[[route]]\nmethod = \"GET\"\npath = \"/\"\ncall = \"a/a.b\"\n";
    let headers: String = (0..33).map(|index| format!("X-{index} = \"1\"\n")).collect();
    check_routes(&[&format!("{route}[route.answer.headers] #~ bad-value: there are more than 32 entries\n{headers}")]);
    let long = "a".repeat(2049);
    check_routes(&[&format!("{route}answer.headers.X-A = \"{long}\" #~ bad-value: the text has more than 2048 bytes")]);
}

#[test]
fn in_mounts() {
    let rows = [
        "[[mount]] #~ missing-key: `mount[0].path` #~ missing-key: `mount[0].module`",
        "mount = {} #~ bad-value: `mount` must be a list",
        "[[mounts]] #~ unknown-key: there is no key `mounts`",
        "[[mount]]\npath = \"/\"\nmodule = \"c\" #~ unknown-name: there is no module `c`",
        "[[mount]]\npath = \"/\"\nmodule = 1 #~ bad-value: `mount[0].module` must be a string",
        "M\npath = \"x\" #~ route-conflict: the path `x` of a mount is not valid: a path starts with `/`",
        "M\npath = \"/x/\" #~ route-conflict: an empty segment",
        "M\npath = \"/x/*\" #~ route-conflict: `*` is not literal text",
        "M\npath = \"/{id}\" #~ route-conflict: `{id}` is not literal text",
        "M\npath = 1 #~ bad-value: must be a string",
        "M\npath = \"/\"\nstrip = \"no\" #~ bad-value: `mount[0].strip` must be true or false",
        "M\npath = \"/\"\nmethods = \"GET\" #~ bad-value: `mount[0].methods` must be a list",
        "M\npath = \"/\"\nmethods = [] #~ bad-value: a mount without a method takes no request",
        "M\npath = \"/\"\nmethods = [\n\"PURGE\",\n\"PURGE\", #~ duplicate: `PURGE` is in the list twice\n]",
        "M\npath = \"/\"\nmethods = [\"get\"] #~ bad-value: `get` is not the method `GET`",
        "M\npath = \"/\"\nmethods = [\"A B\"] #~ bad-value: `A B` is not an HTTP method",
        "M\npath = \"/\"\nmethods = [\"\"] #~ bad-value: `` is not an HTTP method",
        "M\npath = \"/\"\nmethods = [\"CONNECT\"] #~ bad-value: the method `CONNECT` has no path",
        "M\npath = \"/\"\nmethod = \"GET\" #~ unknown-key: `mount[0].method`",
        "M\npath = \"/x\"\n[[mount]]\nmodule = \"b\"\npath = \"/x\" #~ route-conflict: two mounts have the path `/x`",
    ];
    for row in rows {
        check_routes(&[&row.replace("M\n", "[[mount]]\nmodule = \"a\"\n")]);
    }
    let mount = "[[mount]]\nmodule = \"a\"\npath = \"/x\"";
    check_routes(&[mount, &format!("{mount} #~ route-conflict: two mounts have the path `/x`")]);
}

#[test]
fn between_routes() {
    let route =
        |method: &str, path: &str| format!("[[route]]\nmethod = \"{method}\"\ncall = \"a/a.b\"\npath = {path}\n\n");
    check_routes(&[
        &(route("GET", "\"/a/{x}\"")
            + &route("GET", "\"/a/{y}\" #~ route-conflict: `GET /a/{x}`")
            + &route("PUT", "\"/a/{y}\"")),
        &route("GET", "\"/a/{z}\" #~ route-conflict: `GET /a/{z}` matches the same requests as `GET /a/{x}`"),
        "broken #~ syntax: ",
        "[[route]]\nmethod = \"PUT\"\ncall = \"c/a.b\" #~ unknown-name: `c`\npath = \"/a/{q}\" #~ route-conflict: `PUT /a/{y}`",
    ]);
    let manifest = format!("{APP}routes = [\"*.r\"]\n{MODULES}");
    let twice = [route("GET", "\"/a\""), route("GET", "\"/a\"")].concat();
    let folder = folder(&[("app.toml", &manifest), ("x.r", &twice)]);
    let problems = load(folder.path(), &Overrides::default()).unwrap_err();
    let help = problems.as_slice()[0].help.clone().unwrap();
    assert!(help.contains("x.r:4"), "the other place is told: {help}");
}

#[test]
fn five_at_once_in_the_order_of_lines() {
    let manifest = "[app]\nname = \"demo\"\nroutes = [\"r.toml\"]\nport = 1 #~ unknown-key: `app.port`
[modules.b]\ncomponent = \"b\"\ncalls = [\"c\"] #~ unknown-name: `c`
[modules.a] #~ missing-key: `modules.a.component`
[defaults.limits]\nrequest = 30 #~ bad-value: no unit";
    let routes = "[[route]]\nmethod = \"GO\" #~ bad-value: `GO`\npath = \"/\"\ncall = \"a/a.b\"";
    let files = [("app.toml", manifest), ("r.toml", routes)];
    check(&files);
    let problems = load_files(&files).unwrap_err();
    let lines: Vec<Option<u32>> = problems.as_slice().iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [4, 7, 8, 10, 2].map(Some));
}

#[test]
fn of_files() {
    let code = |path: &Path| load(path, &Overrides::default()).unwrap_err().as_slice()[0].code;
    let folder = folder(&[("empty/x", ""), ("bytes/app.toml", "")]);
    assert_eq!(code(&folder.path().join("empty")), Code::Unreadable);
    assert_eq!(code(&folder.path().join("gone.toml")), Code::Unreadable);
    let manifest = format!("{APP}routes = [\"*.r\"]\n{MODULES}");
    fs::write(folder.path().join("empty/app.toml"), manifest).unwrap();
    std::os::unix::fs::symlink("gone", folder.path().join("empty/x.r")).unwrap();
    let problems = load(&folder.path().join("empty"), &Overrides::default()).unwrap_err();
    let [problem] = problems.as_slice() else { panic!("{problems}") };
    assert_eq!((problem.code, problem.file.clone()), (Code::Unreadable, Some(folder.path().join("empty/x.r"))));
    fs::write(folder.path().join("bytes/app.toml"), b"[app]\nname = \"\xff\"").unwrap();
    assert_eq!(code(&folder.path().join("bytes")), Code::Syntax);
}
