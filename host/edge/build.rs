//! Compresses the files of the page that shows the OpenAPI document: those of Swagger UI, which a crate carries, and our own. The binary
//! contains only the compressed files.

use std::borrow::Cow;
use std::error::Error;
use std::fs::{self, File};
use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use flate2::{Compression, Crc};
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::ZipArchive;

/// The files of Swagger UI that the page needs.
const SWAGGER_UI: [&str; 2] = ["swagger-ui-bundle.js", "swagger-ui.css"];
/// Our own files, in the folder `page`.
const OWN: [&str; 3] = ["index.html", "page.css", "page.js"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let folder = PathBuf::from(std::env::var("OUT_DIR")?);
    let mut all = Crc::new();
    let mut archive = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED))?;
    for name in SWAGGER_UI {
        // The folder at the top has the version in its name.
        let is_it = |path: &str| path.split('/').skip(1).eq(["dist", name]);
        let path = archive.file_names().filter_map(Result::ok).find(|path| is_it(path)).map(Cow::into_owned);
        let path = path.ok_or_else(|| format!("Swagger UI has no {name}"))?;
        let mut bytes = Vec::new();
        archive.by_name(&path)?.read_to_end(&mut bytes)?;
        compress(&folder, name, &bytes, &mut all)?;
    }
    for name in OWN {
        let path = Path::new("page").join(name);
        println!("cargo::rerun-if-changed={}", path.display());
        compress(&folder, name, &fs::read(path)?, &mut all)?;
    }
    println!("cargo::rustc-env=WATERTIGHT_PAGE_TAG=\"{:08x}-{}\"", all.sum(), all.amount());
    Ok(())
}

/// Writes a file compressed, and counts it in the checksum of all files.
fn compress(folder: &Path, name: &str, bytes: &[u8], all: &mut Crc) -> std::io::Result<()> {
    all.update(bytes);
    let mut file = GzEncoder::new(File::create(folder.join(format!("{name}.gz")))?, Compression::best());
    file.write_all(bytes)?;
    file.finish()?;
    Ok(())
}
