//! Every file of `tests/cases/` is judged, and its verdict compared.

use std::error::Error;
use std::path::{Path, PathBuf};

use flipguard::cli::case::Case;

#[test]
fn every_case_is_as_expected() -> Result<(), Box<dyn Error>> {
    let files = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases"))?;
    let wrong: Vec<String> = files.iter().filter_map(|file| run(file).err()).collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n\n{}", wrong.len(), files.len(), wrong.join("\n\n"));
    println!("{} cases", files.len());
    assert!(files.len() >= 120, "only {} cases were found", files.len());
    Ok(())
}

fn run(file: &Path) -> Result<(), String> {
    let named = |why: String| format!("{}: {why}", file.display());
    let case = Case::load(file).map_err(|error| named(format!("{error:#}")))?;
    let verdict = case.verdict().map_err(|error| named(format!("{error:#}")))?;
    case.compare(&verdict).map_err(named)
}

fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(self::files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
