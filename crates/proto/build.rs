//! Compiles every file under `proto/` without a system `protoc`, and writes a module tree that
//! mirrors the package names.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());

    let mut files = Vec::new();
    collect(&root, &mut files)?;
    files.sort();

    let set = protox::compile(&files, [&root])?;
    let mut tree = Module::default();
    for file in set.file.iter().filter(|file| file.package().starts_with("switchback.")) {
        tree.insert(file.package());
    }
    tonic_prost_build::configure().bytes(".").btree_map(".").compile_fds(set)?;

    let mut text = String::new();
    tree.children.get("switchback").map_or(Ok(()), |module| module.write("switchback", &mut text))?;
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("tree.rs"), text)?;
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    Ok(())
}

/// A package path as nested modules, so that references between packages (`super::super::...`)
/// resolve in the generated code.
#[derive(Default)]
struct Module {
    package: bool,
    children: BTreeMap<String, Self>,
}

impl Module {
    fn insert(&mut self, package: &str) {
        let leaf =
            package.split('.').fold(self, |module, name| module.children.entry(name.into()).or_default());
        leaf.package = true;
    }

    fn write(&self, path: &str, text: &mut String) -> std::fmt::Result {
        if self.package {
            writeln!(text, "include!(concat!(env!(\"OUT_DIR\"), \"/{path}.rs\"));")?;
        }
        for (name, module) in &self.children {
            writeln!(text, "/// Package `{path}.{name}`.\npub mod {name} {{")?;
            module.write(&format!("{path}.{name}"), text)?;
            writeln!(text, "}}")?;
        }
        Ok(())
    }
}
