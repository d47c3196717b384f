//! A CPU quota and a memory limit from the kernel's control groups, of either version.
//!
//! Its own file because a machine may have none that we may write, and the run must say so.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// A tenth of a core, in slices as Kubernetes gives them.
const PERIOD_US: u32 = 100_000;
const QUOTA_US: u32 = 10_000;
const MEMORY: u32 = 100 << 20;

/// A group that holds one process tree; removed when dropped.
pub(crate) struct Quota {
    folders: Vec<PathBuf>,
}

impl Quota {
    /// Makes one, or says why this machine has none.
    pub(crate) fn make() -> Result<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("portcullis-bench-{}-{number}", std::process::id());
        let root = Path::new("/sys/fs/cgroup");
        let mut quota = Self {
            folders: Vec::new(),
        };
        if root.join("cgroup.controllers").exists() {
            let group = quota.add(root.join(&name))?;
            set(&group, "cpu.max", &format!("{QUOTA_US} {PERIOD_US}"))?;
            set(&group, "memory.max", &MEMORY.to_string())?;
        } else if root.join("cpu").is_dir() {
            let cpu = quota.add(root.join("cpu").join(&name))?;
            set(&cpu, "cpu.cfs_period_us", &PERIOD_US.to_string())?;
            set(&cpu, "cpu.cfs_quota_us", &QUOTA_US.to_string())?;
            let memory = quota.add(root.join("memory").join(&name))?;
            set(&memory, "memory.limit_in_bytes", &MEMORY.to_string())?;
        } else {
            bail!("no control groups at {}", root.display());
        }
        Ok(quota)
    }

    fn add(&mut self, folder: PathBuf) -> Result<PathBuf> {
        fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        self.folders.push(folder.clone());
        Ok(folder)
    }

    /// The same command, inside from its first instruction on.
    pub(crate) fn around(&self, command: &Command) -> Command {
        let mut inside = Command::new("sh");
        let join = "while [ \"$1\" != -- ]; do echo $$ >\"$1\"; shift; done; shift; exec \"$@\"";
        inside.args(["-eu", "-c", join, "sh"]);
        inside.args(
            self.folders
                .iter()
                .map(|folder| folder.join("cgroup.procs")),
        );
        inside
            .arg("--")
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside
    }
}

fn set(group: &Path, file: &str, value: &str) -> Result<()> {
    let path = group.join(file);
    fs::write(&path, value).with_context(|| format!("{} = {value}", path.display()))
}

impl Drop for Quota {
    fn drop(&mut self) {
        for folder in &self.folders {
            // The kernel takes a moment to let go of processes that were just killed.
            for _ in 0..100 {
                if fs::remove_dir(folder).is_ok() {
                    break;
                }
                sleep(Duration::from_millis(20));
            }
        }
    }
}
