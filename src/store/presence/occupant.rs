//! The process that holds a slot, as the content of the slot's file names it.

use std::fs;
use std::process;
use std::time::SystemTime;

use once_cell::race::OnceBox;
use serde_json::{Value, json};

/// What a process does in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It counts.
    Worker,
    /// It starts, watches and ends workers.
    Master,
}

impl Role {
    /// The role of this name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Worker, Self::Master].into_iter().find(|role| role.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Master => "master",
        }
    }
}

/// The process that the content of a slot names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occupant {
    /// Its pid, in its own pid namespace.
    pub pid: u32,
    /// When it started: clock ticks since the boot; where `/proc` is missing, Unix time in seconds.
    pub start: u64,
    /// What its files are named after: the pid, or what a custom process identifier gives.
    pub identifier: String,
    /// `worker` or `master`.
    pub role: String,
    /// Why it is about to end, as far as it has said so.
    pub ending: Option<String>,
    /// Processes that held the slot before and said why they would end, the last first.
    pub before: Vec<Ended>,
}

/// A process that held a slot and has said why it would end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its pid, in its own pid namespace.
    pub pid: u32,
    /// Why it would end.
    pub ending: String,
}

/// A slot remembers so many processes that held it before.
const BEFORE_MAX: usize = 8;

impl Occupant {
    /// This process.
    pub(crate) fn this_process(identifier: &str, role: Role) -> Self {
        static START: OnceBox<(u32, u64)> = OnceBox::new();
        // The child of a fork has started later than its parent.
        let start = match *START.get_or_init(|| Box::new((process::id(), start()))) {
            (pid, start) if pid == process::id() => start,
            _ => start(),
        };
        let (identifier, role) = (identifier.to_owned(), role.name().to_owned());
        Self { pid: process::id(), start, identifier, role, ending: None, before: Vec::new() }
    }

    /// The content of a slot's file.
    pub(crate) fn to_line(&self) -> String {
        let Self { pid, start, identifier, role, ending, before } = self;
        let mut content =
            json!({ "pid": pid, "start": start, "identifier": identifier, "role": role });
        if let Some(ending) = ending {
            content["ending"] = json!(ending);
        }
        if !before.is_empty() {
            let ended = |Ended { pid, ending }: &Ended| json!({ "pid": pid, "ending": ending });
            content["before"] = before.iter().map(ended).collect();
        }
        format!("{content}\n")
    }

    /// Parses the content of a slot's file; none if it names no process.
    pub(crate) fn parse(content: &[u8]) -> Option<Self> {
        // Behind the line may be the rest of a longer one, which its writer is about to cut off.
        let line = content.split(|&byte| byte == b'\n').next()?;
        let content: Value = serde_json::from_slice(line).ok()?;
        let before = content["before"].as_array().map(Vec::as_slice).unwrap_or_default();
        Some(Self {
            pid: pid_in(&content)?,
            start: content["start"].as_u64()?,
            identifier: content["identifier"].as_str()?.to_owned(),
            role: content["role"].as_str()?.to_owned(),
            ending: content["ending"].as_str().map(str::to_owned),
            before: before.iter().filter_map(Ended::parse).collect(),
        })
    }

    /// What the next process that holds the slot keeps of this one and of those before it.
    pub(crate) fn into_ended(self) -> Vec<Ended> {
        let last = self.ending.map(|ending| Ended { pid: self.pid, ending });
        last.into_iter().chain(self.before).take(BEFORE_MAX).collect()
    }
}

impl Ended {
    fn parse(content: &Value) -> Option<Self> {
        let ending = content["ending"].as_str()?.to_owned();
        Some(Self { pid: pid_in(content)?, ending })
    }
}

fn pid_in(content: &Value) -> Option<u32> {
    u32::try_from(content["pid"].as_u64()?).ok()
}

/// When this process started: see [`Occupant::start`].
fn start() -> u64 {
    // `pid (name) state …`: the 22nd field. The name may hold blanks and parentheses.
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(19));
    let now = || SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_secs());
    ticks.and_then(|ticks| ticks.parse().ok()).unwrap_or_else(now)
}
