//! Tests of finding the route or the mount of a request.

use ::http::StatusCode;

use super::*;

fn route(method: Method, path: &str) -> Route {
    Route {
        method,
        path: path.into(),
        module: "a".parse().expect("a name"),
        interface: "a:a/a@1.0.0".parse().expect("a name"),
        function: "f".to_owned(),
        parameters: Vec::new(),
        body: BoundBody::Unbound,
        absent_body: None,
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

fn mount(path: &str, methods: &[&str]) -> Mount {
    let methods = methods.iter().map(|method| method.parse().expect("a method")).collect::<Vec<_>>();
    Mount {
        path: path.into(),
        module: "m".parse().expect("a name"),
        interface: "wasi:http/incoming-handler@0.2.6".parse().expect("a name"),
        version: HandlerVersion::P2,
        strip: false,
        methods: Some(methods).filter(|methods| !methods.is_empty()),
    }
}

fn table(routes: &[(Method, &str)], mounts: Vec<Mount>) -> RouteTable {
    let mut by_path: BTreeMap<&str, Path> = BTreeMap::new();
    for (place, (method, path)) in routes.iter().enumerate() {
        by_path.entry(*path).or_default().methods.push((*method, place));
    }
    let mut paths = matchit::Router::new();
    for (path, methods) in by_path {
        paths.insert(path, methods).expect("no conflict");
    }
    let routes = routes.iter().map(|(method, path)| route(*method, path)).collect();
    RouteTable { routes, paths, mounts: MountTable::new(mounts), middlewares: Vec::new(), door: Door::default() }
}

/// Describes what a table finds: "route" and "mount" with a path, or "405" with the methods of `Allow`, or "404".
fn found(table: &RouteTable, method: &str, path: &str) -> String {
    match table.find(&method.parse().expect("a method"), path) {
        RouteMatch::Route(place, route, values) => {
            assert_eq!(table.routes()[place].path, route.path);
            format!("route {} {}", route.path, values.join(" ")).trim_end().to_owned()
        }
        RouteMatch::Mount(place, mount) => {
            assert_eq!(table.mounts()[place].path, mount.path);
            format!("mount {}", mount.path)
        }
        RouteMatch::OtherMethods(allow) => format!("405 {}", allow.to_str().expect("text")),
        RouteMatch::Nothing => "404".to_owned(),
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
