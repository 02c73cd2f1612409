//! Unmodified kubectl programs.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::cluster::Cluster;

/// Where Google's SDK puts one program for each version.
const SDK: &str = "/usr/lib/google-cloud-sdk/bin";
/// How long a watch may wait for what it looks for.
const WATCH_SECONDS: u32 = 90;

/// The installed programs, oldest first.
pub(crate) fn programs() -> Vec<PathBuf> {
    if let Some(named) = env::var_os("TIPHYS_KUBECTL") {
        return named.to_string_lossy().split_whitespace().map(PathBuf::from).collect();
    }
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(SDK).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(minor) = name.strip_prefix("kubectl.1.").and_then(|minor| minor.parse::<u32>().ok()) {
            found.insert(minor, entry.path());
        }
    }
    if found.is_empty() {
        let paths = env::var_os("PATH").unwrap_or_default();
        let program = env::split_paths(&paths).map(|path| path.join("kubectl")).find(|path| path.exists());
        return program.into_iter().collect();
    }
    found.into_values().collect()
}

/// One program, used on one cluster.
pub(crate) struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    cache: PathBuf,
}

/// What a run of it brought.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Kubectl {
    pub(crate) fn new(program: &Path, cluster: &Cluster) -> Self {
        Self { program: program.to_owned(), kubeconfig: cluster.kubeconfig(), cache: cluster.scratch("cache") }
    }

    /// A name that is unlike those of other versions.
    pub(crate) fn label(&self) -> String {
        self.program.file_name().unwrap().to_string_lossy().replace('.', "-")
    }

    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--kubeconfig").arg(&self.kubeconfig).arg("--cache-dir").arg(&self.cache).args(words(line));
        command
    }

    pub(crate) fn run_with(&self, line: &str, input: &[u8]) -> Ran {
        let mut command = self.command(line);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        finish(child, input)
    }

    pub(crate) fn run(&self, line: &str) -> Ran {
        self.run_with(line, b"")
    }

    /// Standard output of a command that has to succeed.
    pub(crate) fn ok(&self, line: &str) -> String {
        let ran = self.run(line);
        assert_eq!(ran.code, Some(0), "kubectl {line}: {ran:#?}");
        ran.stdout
    }

    pub(crate) fn ok_with(&self, line: &str, input: &str) -> String {
        let ran = self.run_with(line, input.as_bytes());
        assert_eq!(ran.code, Some(0), "kubectl {line}: {ran:#?}");
        ran.stdout
    }

    /// Standard error of a command that has to fail.
    pub(crate) fn fails(&self, line: &str, input: &str) -> String {
        let ran = self.run_with(line, input.as_bytes());
        assert_eq!(ran.code, Some(1), "kubectl {line}: {ran:#?}");
        ran.stderr
    }

    /// Follows a `get --watch` until what it has printed is as wanted, and returns that. A listing comes first, so that
    /// what the closure does after the first line is seen.
    pub(crate) fn watch(&self, line: &str, wanted: impl Fn(&Self, &str) -> bool) -> String {
        let mut command = self.command(&format!("{line} --request-timeout={WATCH_SECONDS}s"));
        let mut watch = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut seen = String::new();
        let mut found = false;
        for line in BufReader::new(watch.stdout.take().unwrap()).lines() {
            seen.push_str(&line.unwrap());
            seen.push('\n');
            found = wanted(self, &seen);
            if found {
                break;
            }
        }
        watch.kill().unwrap();
        watch.wait().unwrap();
        assert!(found, "kubectl {line} ended after {seen}");
        seen
    }

    /// A fresh namespace; deleted by [`Kubectl::drop_namespace`].
    pub(crate) fn namespace(&self, name: &str) {
        self.ok(&format!("create namespace {name}"));
    }

    pub(crate) fn drop_namespace(&self, name: &str) {
        self.ok(&format!("delete namespace {name} --timeout=60s"));
    }
}

pub(crate) fn finish(mut child: Child, input: &[u8]) -> Ran {
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // Beside the reading, so that neither waits for the other; a program that reads no input closes it early.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Words of a line; single quotes keep blanks.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut started) = (Vec::new(), String::new(), false, false);
    for letter in line.chars() {
        match letter {
            '\'' => (quoted, started) = (!quoted, true),
            ' ' if !quoted => {
                if started {
                    words.push(std::mem::take(&mut word));
                }
                started = false;
            }
            letter => {
                word.push(letter);
                started = true;
            }
        }
    }
    if started {
        words.push(word);
    }
    words
}

/// A table with one blank between columns, and without what differs from run to run: ages, addresses, hashes.
pub(crate) fn masked(table: &str) -> String {
    let mut lines = Vec::new();
    for line in table.lines() {
        lines.push(line.split_whitespace().map(mask).collect::<Vec<_>>().join(" "));
    }
    lines.join("\n")
}

fn mask(word: &str) -> String {
    let age = |text: &str| {
        text.ends_with(['s', 'm', 'h', 'd']) && text.starts_with(|first: char| first.is_ascii_digit()) && {
            text.chars().all(|letter| letter.is_ascii_digit() || "smhd".contains(letter))
        }
    };
    if age(word) {
        return "AGE".to_owned();
    }
    if word.parse::<std::net::IpAddr>().is_ok() {
        return "IP".to_owned();
    }
    // Generated names end in five letters, after the hash of a template where there is one.
    let is_hash = |part: &str| {
        (part.len() == 5 || (8..=10).contains(&part.len()))
            && part.chars().all(|letter| "bcdfghjklmnpqrstvwxz2456789".contains(letter))
    };
    let mut parts: Vec<&str> = word.split('-').collect();
    let whole = parts.len();
    while parts.len() > 1 && whole - parts.len() < 2 && parts.last().is_some_and(|part| is_hash(part)) {
        parts.pop();
    }
    if parts.len() < whole { format!("{}-*", parts.join("-")) } else { word.to_owned() }
}
