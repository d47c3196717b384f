//! What every Prometheus client says of its process.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// The standard `process_*` metrics, read from `/proc/self` at each scrape
/// (prometheus.io, "Writing client libraries", "Process metrics").
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        // Without /proc these series are missing rather than wrong.
        let Ok(process) = procfs::process::Process::myself() else {
            return Ok(());
        };
        if let Ok(stat) = process.stat() {
            let ticks = procfs::ticks_per_second();
            let cpu_seconds = (stat.utime + stat.stime) as f64 / ticks as f64;
            counter(
                &mut encoder,
                "process_cpu_seconds",
                "CPU time spent, user and system",
                cpu_seconds,
            )?;
            gauge(
                &mut encoder,
                "process_virtual_memory_bytes",
                "Virtual memory size",
                stat.vsize as f64,
            )?;
            let resident = stat.rss.saturating_mul(procfs::page_size()) as f64;
            gauge(
                &mut encoder,
                "process_resident_memory_bytes",
                "Resident memory size",
                resident,
            )?;
            gauge(
                &mut encoder,
                "process_threads",
                "Threads of the process",
                stat.num_threads as f64,
            )?;
            if let Ok(boot) = procfs::boot_time_secs() {
                let started = boot as f64 + stat.starttime as f64 / ticks as f64;
                gauge(
                    &mut encoder,
                    "process_start_time_seconds",
                    "Start of the process, in seconds since 1970",
                    started,
                )?;
            }
        }
        if let Ok(open) = process.fd_count() {
            gauge(
                &mut encoder,
                "process_open_fds",
                "Open file descriptors",
                open as f64,
            )?;
        }
        if let Ok(procfs::process::LimitValue::Value(most)) = process
            .limits()
            .map(|limits| limits.max_open_files.soft_limit)
        {
            gauge(
                &mut encoder,
                "process_max_fds",
                "Most file descriptors the process may open",
                most as f64,
            )?;
        }
        Ok(())
    }
}

pub(super) fn counter(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: f64,
) -> Result<(), std::fmt::Error> {
    let metric = ConstCounter::new(value);
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

pub(super) fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: f64,
) -> Result<(), std::fmt::Error> {
    let metric = ConstGauge::new(value);
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}
