//! Clients that are made of the served OpenAPI documents: they compile, and they work. And what is generated from the
//! documents at random is answered as they say.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use support::{Server, Tenant, clients, python, run};

const DOCUMENTS: [&str; 5] = ["dialflo", "dialro", "native", "voxcore", "voxstack"];

/// Requests that are made up for each operation.
const EXAMPLES: &str = "5";

/// Where they come from.
const SEED: &str = "7";

/// A server, its documents in a folder, and a tenant.
struct Desk {
    folder: tempfile::TempDir,
    server: Server,
    tenant: Tenant,
}

impl Desk {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let tenant = Tenant::create(&data);
        let server = Server::start(&data, "dialro");
        let desk = Self { folder, server, tenant };
        for name in DOCUMENTS {
            let (status, document) = desk.server.ask("GET", &format!("/openapi/{name}.json"), &[], Value::Null);
            assert_eq!(status, 200);
            fs::write(desk.document(name), document.to_string()).unwrap();
        }
        desk
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn document(&self, name: &str) -> PathBuf {
        self.path().join(format!("{name}.json"))
    }

    fn base(&self) -> String {
        format!("http://{}", self.server.addr)
    }

    fn keys(&self) -> String {
        let keys: serde_json::Map<_, _> = ["dialflo", "dialro", "voxcore", "voxstack"]
            .into_iter()
            .map(|dialect| (dialect.to_owned(), json!(self.tenant.key(dialect))))
            .collect();
        Value::Object(keys).to_string()
    }
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

#[test]
fn operations_have_names_of_their_own() {
    let desk = Desk::open();
    for name in DOCUMENTS {
        let document: Value = serde_json::from_slice(&fs::read(desk.document(name)).unwrap()).unwrap();
        let paths = document["paths"].as_object().unwrap().values();
        let operations: Vec<&Value> = paths.flat_map(|path| path.as_object().unwrap().values()).collect();
        let mut names: Vec<_> = operations.iter().map(|operation| operation["operationId"].as_str().unwrap()).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all, "{name}");
        for operation in operations {
            let responses = operation["responses"].as_object().unwrap();
            let refusals =
                responses.iter().filter(|(status, _)| status.starts_with(['4', '5']) || *status == "default");
            for (status, refusal) in refusals {
                // RFC 9110, 15.5.17: a range beyond the recording is told by a header.
                assert!(
                    refusal["content"].is_object() || status == "416",
                    "{name}: {} tells nothing at {status}",
                    operation["operationId"]
                );
            }
        }
    }
}

#[test]
fn typescript_clients_compile_and_work() {
    let desk = Desk::open();
    let packages = clients().join("node_modules");
    for name in DOCUMENTS {
        let made = desk.path().join(format!("{name}.ts"));
        run(Command::new("node")
            .arg(packages.join("openapi-typescript/bin/cli.js"))
            .arg(desk.document(name))
            .arg("--output")
            .arg(made));
    }
    fs::copy(source("use.ts"), desk.path().join("use.ts")).unwrap();
    fs::write(desk.path().join("package.json"), r#"{ "type": "module" }"#).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(&packages, desk.path().join("node_modules")).unwrap();
    let options =
        "--strict --target es2022 --module nodenext --lib es2022,dom --rewriteRelativeImportExtensions use.ts";
    run(Command::new("node")
        .arg(packages.join("typescript/bin/tsc"))
        .args(options.split(' '))
        .current_dir(desk.path()));
    let told = run(Command::new("node").arg("use.js").args([desk.base(), desk.keys()]).current_dir(desk.path()));
    assert_eq!(told, "used\n");
}

#[test]
fn python_clients_compile_and_work() {
    let desk = Desk::open();
    for name in DOCUMENTS {
        let config = desk.path().join(format!("{name}.yml"));
        // JSON is YAML. Nothing is reformatted that nobody reads; the generator knows few types of content by their names.
        let contents = json!({
            "application/openmetrics-text": "text/plain", "audio/wav": "application/octet-stream",
            "text/event-stream": "text/plain",
        });
        let settings = json!({ "content_type_overrides": contents, "package_name_override": name, "post_hooks": [] });
        fs::write(&config, settings.to_string()).unwrap();
        run(python()
            .args(["-m", "openapi_python_client", "generate", "--meta", "none", "--fail-on-warning", "--path"])
            .arg(desk.document(name))
            .arg("--output-path")
            .arg(desk.path().join(name))
            .arg("--config")
            .arg(config));
        run(python().args(["-W", "error", "-m", "compileall", "-q"]).arg(desk.path().join(name)));
    }
    let path = std::env::join_paths([desk.path().to_owned(), clients().join("python")]).unwrap();
    let told = run(python().env("PYTHONPATH", path).arg(source("use.py")).args([desk.base(), desk.keys()]));
    assert_eq!(told, "used\n");
}

#[test]
fn whatever_the_documents_allow_is_answered_as_they_say() {
    let desk = Desk::open();
    for name in DOCUMENTS {
        let (header, key) = desk.tenant.header(if name == "native" { "dialro" } else { name });
        let checks = "not_a_server_error,content_type_conformance,response_schema_conformance";
        run(python()
            .args(["-m", "schemathesis.cli", "run"])
            .arg(format!("{}/openapi/{name}.json", desk.base()))
            .args(["-H", &format!("{header}: {key}"), "--checks", checks, "-n", EXAMPLES, "--seed", SEED])
            .args(["--phases", "examples,fuzzing", "--generation-database", "none", "--warnings", "off", "--no-color"])
            .current_dir(desk.path()));
    }
}
