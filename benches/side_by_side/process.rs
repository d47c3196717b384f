//! A process tree from start to end: started in a group of its own, weighed through /proc, killed by its id.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use procfs::process::{Process, all_processes};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::quota::Quota;

/// Every group that runs, so that Ctrl-C ends them all; `None` once it did, and nothing starts any more.
static RUNNING: Mutex<Option<Vec<Pid>>> = Mutex::new(Some(Vec::new()));

/// Ends every group that runs. The run then fails by itself, and tidies up.
pub(crate) fn stop() {
    let running = RUNNING
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    for group in running.unwrap_or_default() {
        // A group that is gone already is as good as killed.
        let _gone_already = kill_process_group(group, Signal::KILL);
    }
}

/// True once [`stop`] was called: whatever fails from then on fails because of it.
pub(crate) fn stopped() -> bool {
    RUNNING
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .is_none()
}

/// A program and all that it starts; killed when dropped.
pub(crate) struct Tree {
    leader: Child,
    group: Pid,
    /// Outlives the processes in it.
    _quota: Option<Quota>,
}

impl Tree {
    /// Starts a program in a group of its own, inside a quota if there is one. What it says is lost unless `--logs`.
    pub(crate) fn start(mut command: Command, quota: Option<Quota>, logs: bool) -> Result<Self> {
        if let Some(quota) = &quota {
            command = quota.around(&command);
        }
        command.stdin(Stdio::null()).process_group(0);
        if !logs {
            command.stdout(Stdio::null()).stderr(Stdio::null());
        }
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let running = running.as_mut().context("interrupted")?;
        let leader = command
            .spawn()
            .with_context(|| format!("{} does not start", command.get_program().display()))?;
        let group = Pid::from_child(&leader);
        running.push(group);
        Ok(Self {
            leader,
            group,
            _quota: quota,
        })
    }

    /// Fails if the program has ended.
    pub(crate) fn still_runs(&mut self) -> Result<()> {
        match self.leader.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("it ended at once, {status}; --logs shows what it says"),
        }
    }

    fn processes(&self) -> Result<Vec<Process>> {
        let group = self.group.as_raw_nonzero().get();
        let mut found = Vec::new();
        for process in all_processes()? {
            // Others come and go meanwhile.
            let Ok(process) = process else { continue };
            let Ok(stat) = process.stat() else { continue };
            if stat.pgrp == group && stat.state != 'Z' {
                found.push(process);
            }
        }
        ensure!(
            !found.is_empty(),
            "the process is gone; --logs shows what it says"
        );
        Ok(found)
    }

    /// CPU time of all processes so far, of those that ended as well.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let mut ticks = 0;
        for process in self.processes()? {
            let stat = process.stat()?;
            let of_children = stat.cutime.unsigned_abs() + stat.cstime.unsigned_abs();
            ticks += stat.utime + stat.stime + of_children;
        }
        let per_second = procfs::ticks_per_second();
        Ok(Duration::from_micros(ticks * 1_000_000 / per_second))
    }

    /// CPU time of all threads that live, exact even for little of it, where [`Self::cpu`] has steps of 10 ms.
    pub(crate) fn cpu_of_threads(&self) -> Result<Duration> {
        let mut nanos = 0;
        for process in self.processes()? {
            for thread in fs::read_dir(format!("/proc/{}/task", process.pid()))? {
                let path = thread?.path().join("schedstat");
                let text = fs::read_to_string(&path)
                    .with_context(|| format!("{}: the kernel does not tell", path.display()))?;
                let number = text.split(' ').next().unwrap_or_default();
                nanos += number.parse::<u64>()?;
            }
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// Proportional set size of all processes, in bytes.
    pub(crate) fn pss(&self) -> Result<u64> {
        let mut kib = 0;
        for process in self.processes()? {
            let path = format!("/proc/{}/smaps_rollup", process.pid());
            let text = fs::read_to_string(&path)
                .with_context(|| format!("{path}: reading it may need root"))?;
            let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
            let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
            kib += number
                .with_context(|| format!("{path} has no Pss"))?
                .trim()
                .parse::<u64>()?;
        }
        Ok(kib << 10)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = running.as_mut() {
            running.retain(|group| *group != self.group);
        }
        drop(running);
        let _gone_already = kill_process_group(self.group, Signal::KILL);
        drop(self.leader.wait());
    }
}
