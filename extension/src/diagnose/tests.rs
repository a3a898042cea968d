use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, symlink};

use anyhow::anyhow;
use flate2::read::GzDecoder;

use super::*;

fn unpacked(path: &Path) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(path).unwrap()));
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        let name = path.iter().skip(1).collect::<PathBuf>().display().to_string();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (name, text)
    });
    entries.collect()
}

fn diagnosis<'a>(document: &'a Document, output: &'a Path) -> Diagnosis<'a> {
    Diagnosis { socket: Path::new("/nowhere/osquery.em"), document, output: Some(output) }
}

#[test]
fn what_could_not_be_found_out_is_in_the_archive_too() {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("bundle.tar.gz");
    let document = Document::default();
    let mut said = Vec::new();
    let path = diagnosis(&document, &output)
        .write(&mut said, || Err(anyhow!("no source could be started")))
        .unwrap();
    assert_eq!(path, output);
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    let files = unpacked(&path);
    assert!(files["osqueryd/error.txt"].contains("/nowhere/osquery.em"), "{files:?}");
    assert_eq!(files["trial/error.txt"], "no source could be started\n");
    assert!(files["host.json"].contains("sources"));
    assert!(files.contains_key("audit.json") && files.contains_key("running.json"));
    assert!(String::from_utf8(said).unwrap().contains("no source could be started"));
}

#[test]
fn a_trial_that_worked_leaves_its_health() {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("bundle.tar.gz");
    let document = Document {
        value: json!({ "file_paths": { "etc": ["/etc/%%"] }, "schedule": {} }),
        problems: Vec::new(),
    };
    let trial = Trial { shortcomings: vec!["no forks".to_owned()], health: "[]\n".to_owned() };
    diagnosis(&document, &output).write(&mut Vec::new(), || Ok(trial)).unwrap();
    let files = unpacked(&output);
    assert_eq!(files["trial/health.json"], "[]\n");
    assert_eq!(files["trial/shortcomings.txt"], "no forks\n");
    assert!(files["config.json"].contains("/etc/%%"));
    assert!(!files["config.json"].contains("schedule"));
}

#[test]
fn nothing_is_overwritten_and_no_link_is_followed() {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("bundle.tar.gz");
    let target = directory.path().join("target");
    symlink(&target, &output).unwrap();
    let document = Document::default();
    let error = diagnosis(&document, &output)
        .write(&mut Vec::new(), || Err(anyhow!("not reached")))
        .unwrap_err();
    assert!(format!("{error:#}").contains("File exists"), "{error:#}");
    assert!(!target.exists());
}
