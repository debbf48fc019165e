//! Tests of finding the route or the mount of a request.

use ::http::StatusCode;

use super::*;

/// Splits a name of a host off a path: `a.example/x`.
fn split(text: &str) -> (Option<HostPattern>, &str) {
    let (host, path) = text.split_at(text.find('/').expect("a path has a slash"));
    (Some(host).filter(|host| !host.is_empty()).map(|host| host.parse().expect("a name")), path)
}

fn route(method: Method, label: &str) -> Route {
    let (host, path) = split(label);
    Route {
        method,
        host,
        path: path.into(),
        label: label.into(),
        module: "a".parse().expect("a name"),
        interface: "a:a/a@1.0.0".parse().expect("a name"),
        function: "f".to_owned(),
        parameters: Vec::new(),
        body: BoundBody::Unbound,
        absent_body: None,
        json: JsonStyle::default(),
        unknown_input: UnknownInput::default(),
        answer: ResultMapping {
            status: StatusMapping::One(StatusCode::OK),
            body: None,
            errors: None,
            parameters: Vec::new(),
            extras: None,
            conditions: Conditions::default(),
        },
    }
}

fn mount(label: &str, methods: &[&str]) -> Mount {
    let (host, path) = split(label);
    let methods = methods.iter().map(|method| method.parse().expect("a method")).collect::<Vec<_>>();
    Mount {
        host,
        path: path.into(),
        label: label.into(),
        module: "m".parse().expect("a name"),
        interface: "wasi:http/incoming-handler@0.2.6".parse().expect("a name"),
        version: HandlerVersion::P2,
        strip: false,
        methods: Some(methods).filter(|methods| !methods.is_empty()),
    }
}

fn table(routes: &[(Method, &str)], mounts: Vec<Mount>) -> RouteTable {
    let mut by_path: BTreeMap<(Option<HostPattern>, &str), Path> = BTreeMap::new();
    for (place, (method, label)) in routes.iter().enumerate() {
        by_path.entry(split(label)).or_default().methods.push((*method, Some(place)));
    }
    let mut hosts = HostTables::default();
    for ((host, path), methods) in by_path {
        let table = hosts.entry(host.as_ref());
        table.is_used = true;
        table.paths.insert(path, methods).expect("no conflict");
    }
    for (index, mount) in mounts.iter().enumerate() {
        let table = hosts.entry(mount.host.as_ref());
        table.is_used = true;
        table.mounts.add(mount.path.clone(), index);
    }
    let routes = routes.iter().map(|(method, label)| route(*method, label)).collect();
    RouteTable { routes, mounts, hosts, ..RouteTable::default() }
}

/// Describes what a table finds for a host and a path: "route" and "mount" with a label, or "405" with the methods of `Allow`, "404" or
/// "421".
fn found(table: &RouteTable, method: &str, path: &str) -> String {
    let (host, path) = path.split_at(path.find(['/', '*']).expect("a path has a slash"));
    match table.find(Some(host).filter(|host| !host.is_empty()), &method.parse().expect("a method"), path) {
        RouteMatch::Route(place, route, values) => {
            assert_eq!(table.routes()[place].path, route.path);
            format!("route {} {}", route.label, values.join(" ")).trim_end().to_owned()
        }
        RouteMatch::Mount(place, mount) => {
            assert_eq!(table.mounts()[place].path, mount.path);
            format!("mount {}", mount.label)
        }
        RouteMatch::Document => "document".to_owned(),
        RouteMatch::OtherMethods(allow) => format!("405 {}", allow.to_str().expect("text")),
        RouteMatch::Nothing => "404".to_owned(),
        RouteMatch::Misdirected => "421".to_owned(),
    }
}

#[test]
fn a_route_comes_before_mounts_and_the_longest_mount_before_others() {
    let routes = [(Method::Get, "/a"), (Method::Post, "/a"), (Method::Get, "/a/{x}"), (Method::Get, "/z")];
    let mounts =
        vec![mount("/a", &["PUT", "GET"]), mount("/a/b", &["PURGE"]), mount("/a/b/c", &["GET"]), mount("/whole", &[])];
    let table = table(&routes, mounts);
    for (method, path, expected) in [
        ("GET", "/a", "route /a"),
        ("HEAD", "/a", "route /a"),
        ("PUT", "/a", "mount /a"),
        ("DELETE", "/a", "405 GET, POST, PUT, HEAD, OPTIONS"),
        ("GET", "/a/b", "route /a/{x} b"),
        ("PURGE", "/a/b", "mount /a/b"),
        ("PURGE", "/a/b/x/y", "mount /a/b"),
        ("PURGE", "/a/b/c/d", "mount /a/b"),
        ("PUT", "/a/b/c/d", "mount /a"),
        ("HEAD", "/a/b/c/d", "mount /a/b/c"),
        ("DELETE", "/a/b/c/d", "405 GET, PURGE, PUT, HEAD, OPTIONS"),
        ("GET", "/a/", "mount /a"),
        ("PURGE", "/a/", "405 PUT, GET, HEAD, OPTIONS"),
        ("GET", "/ab", "404"),
        ("PURGE", "/whole/x", "mount /whole"),
        ("GET", "/z", "route /z"),
        ("PUT", "/z", "405 GET, HEAD, OPTIONS"),
        ("GET", "/z/x", "404"),
        ("OPTIONS", "*", "404"),
    ] {
        assert_eq!(found(&table, method, path), expected, "{method} {path}");
    }
}

#[test]
fn a_mount_of_the_root_takes_what_no_route_takes() {
    let table = table(&[(Method::Get, "/a")], vec![mount("/", &[])]);
    for (method, path, expected) in
        [("GET", "/a", "route /a"), ("POST", "/a", "mount /"), ("GET", "/", "mount /"), ("GET", "/x/y", "mount /")]
    {
        assert_eq!(found(&table, method, path), expected, "{method} {path}");
    }
}

#[test]
fn what_is_for_a_host_comes_before_what_is_for_all() {
    let routes = [
        (Method::Get, "/a"),
        (Method::Put, "/a"),
        (Method::Get, "/b"),
        (Method::Get, "api.example/a"),
        (Method::Get, "*.example/a"),
        (Method::Delete, "*.example/b"),
        (Method::Get, "*.deep.example/a"),
        (Method::Get, "*.deep.example/{x}/y"),
    ];
    let mounts = vec![mount("/m", &["GET"]), mount("api.example/m", &["POST"]), mount("*.example/m/n", &[])];
    let table = table(&routes, mounts);
    for (method, path, expected) in [
        ("GET", "/a", "route /a"),
        ("GET", "other/a", "route /a"),
        ("GET", "example/a", "route /a"),
        ("GET", "api.example/a", "route api.example/a"),
        ("GET", "www.example/a", "route *.example/a"),
        ("GET", "v1.api.example/a", "route *.example/a"),
        ("GET", "x.deep.example/a", "route *.deep.example/a"),
        ("GET", "x.deep.example/z/y", "route *.deep.example/{x}/y z"),
        ("DELETE", "x.deep.example/b", "route *.example/b"),
        ("PUT", "api.example/a", "route /a"),
        ("GET", "api.example/b", "route /b"),
        ("DELETE", "api.example/b", "route *.example/b"),
        ("POST", "api.example/a", "405 GET, PUT, HEAD, OPTIONS"),
        ("POST", "api.example/b", "405 DELETE, GET, HEAD, OPTIONS"),
        ("POST", "other/b", "405 GET, HEAD, OPTIONS"),
        ("POST", "api.example/m", "mount api.example/m"),
        ("GET", "api.example/m", "mount /m"),
        ("POST", "api.example/m/n", "mount api.example/m"),
        ("POST", "www.example/m/n", "mount *.example/m/n"),
        ("POST", "other/m/n", "405 GET, HEAD, OPTIONS"),
        ("GET", "api.example/c", "404"),
        ("GET", "other/c", "404"),
    ] {
        assert_eq!(found(&table, method, path), expected, "{method} {path}");
    }
}

#[test]
fn a_host_that_nothing_is_for_is_told_so() {
    let table = table(&[(Method::Get, "api.example/a"), (Method::Get, "*.web.example/a")], Vec::new());
    for (path, expected) in [
        ("api.example/a", "route api.example/a"),
        ("x.web.example/a", "route *.web.example/a"),
        ("api.example/b", "404"),
        ("web.example/a", "421"),
        ("/a", "421"),
        ("other*", "421"),
    ] {
        assert_eq!(found(&table, "GET", path), expected, "{path}");
    }
    // Without any route, there is nothing to be found.
    assert_eq!(found(&RouteTable::default(), "GET", "api.example/a"), "404");
}
