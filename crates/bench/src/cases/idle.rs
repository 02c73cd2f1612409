//! What a cluster costs that nobody uses.

use std::time::Duration;

use crate::{Arguments, Report, target::Target};

#[expect(clippy::cast_precision_loss, reason = "seconds")]
pub(crate) async fn run(target: &Target, arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    if !target.has_processes() {
        return Ok(());
    }
    let before = target.usage()?;
    tokio::time::sleep(Duration::from_secs(arguments.idle_seconds)).await;
    let after = target.usage()?;
    let per_minute = (after.cpu_seconds - before.cpu_seconds) * 60.0 / arguments.idle_seconds as f64;
    report.add("idle CPU, seconds a minute", per_minute, "s");
    report.add("idle memory (PSS)", after.memory / 1e6, "MB");
    Ok(())
}
