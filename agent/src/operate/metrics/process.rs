//! The process as every exporter shows it (Prometheus documentation, "Writing client libraries", "Process
//! metrics"): these names alone do not begin with `podrole_`.

use std::fmt;

use procfs::process::{LimitValue, Process};
use procfs::{ProcResult, WithCurrentSystemInfo as _};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Asks `/proc/self` at each scrape.
#[derive(Debug)]
pub(super) struct OwnProcess;

struct Found {
    cpu_seconds: f64,
    resident_bytes: u64,
    virtual_bytes: u64,
    open_fds: u64,
    max_fds: Option<u64>,
    threads: i64,
    start_seconds: f64,
}

#[expect(clippy::cast_precision_loss, reason = "seconds, to the hundredth")]
fn look() -> ProcResult<Found> {
    let own = Process::myself()?;
    let stat = own.stat()?;
    let ticks = procfs::ticks_per_second() as f64;
    let max = own.limits()?.max_open_files.soft_limit;
    Ok(Found {
        cpu_seconds: (stat.utime + stat.stime) as f64 / ticks,
        resident_bytes: stat.rss_bytes().get(),
        virtual_bytes: stat.vsize,
        open_fds: u64::try_from(own.fd_count()?).unwrap_or(u64::MAX),
        max_fds: match max {
            LimitValue::Value(max) => Some(max),
            LimitValue::Unlimited => None,
        },
        threads: stat.num_threads,
        start_seconds: procfs::boot_time_secs()? as f64 + stat.starttime as f64 / ticks,
    })
}

impl Collector for OwnProcess {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // Without /proc there are none of these, and all others all the same.
        let Ok(found) = look() else { return Ok(()) };
        let cpu = ConstCounter::new(found.cpu_seconds);
        let help = "What the process has used of CPUs, in seconds.";
        cpu.encode(encoder.encode_descriptor(
            "process_cpu_seconds",
            help,
            None,
            MetricType::Counter,
        )?)?;
        let mut gauge = |name, help, value: f64| {
            let value = ConstGauge::new(value);
            value.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
        };
        gauge(
            "process_start_time_seconds",
            "When the process started, in seconds since 1970.",
            found.start_seconds,
        )?;
        #[expect(clippy::cast_precision_loss, reason = "exact up to 8 PiB")]
        for (name, help, value) in [
            (
                "process_resident_memory_bytes",
                "Memory of the process that is in RAM, in bytes.",
                Some(found.resident_bytes),
            ),
            (
                "process_virtual_memory_bytes",
                "Address space of the process, in bytes.",
                Some(found.virtual_bytes),
            ),
            (
                "process_open_fds",
                "File descriptors that the process has open.",
                Some(found.open_fds),
            ),
            ("process_max_fds", "File descriptors that the process may have open.", found.max_fds),
            ("process_threads", "Threads of the process.", u64::try_from(found.threads).ok()),
        ] {
            if let Some(value) = value {
                gauge(name, help, value as f64)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found() {
        let found = look().unwrap();
        assert!(found.resident_bytes > 1 << 20 && found.virtual_bytes >= found.resident_bytes);
        assert!(found.open_fds >= 3 && found.threads >= 1);
        let now = crate::clock::Clock::system().now();
        let now = now.duration_since(std::time::UNIX_EPOCH).unwrap();
        let age = now.as_secs_f64() - found.start_seconds;
        assert!((-5.0..86_400.0).contains(&age), "{age}");
    }
}
