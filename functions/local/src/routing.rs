//! `ai-gateway routing replay` and `ai-gateway intents fit`: what the receipts that are kept say of the dial.

use crate::receipts::{Wanted, visit};
use anyhow::{Context, bail};
use gateway_core::config::Config;
use gateway_core::money::format_usd;
use gateway_core::routing::refit::{Refit, Report};
use gateway_core::routing::replay::{Replay, Would, usual_dials};
use gateway_host::logging;
use gateway_host::wiring::config;
use std::fmt::Write as _;

/// What the command line asks for.
#[derive(Debug, Default, PartialEq)]
struct Options {
    qualities: Vec<f64>,
    is_json: bool,
    wanted: Wanted,
}

impl Options {
    fn read(arguments: &[&str], has_dial: bool) -> anyhow::Result<Self> {
        let mut options = Self::default();
        let mut arguments = arguments.iter();
        while let Some(option) = arguments.next() {
            if *option == "--json" && has_dial {
                options.is_json = true;
                continue;
            }
            let value =
                arguments.next().with_context(|| format!("{option}: a value is missing, or it is no option"))?;
            if *option == "--quality" && has_dial {
                let quality = value.parse().ok().filter(|quality| (0.0..=1.0).contains(quality));
                options.qualities.push(quality.with_context(|| format!("--quality: {value} is not from 0 to 1"))?);
            } else if !options.wanted.take(option, value)? {
                bail!("{option} is no option here; ai-gateway --help lists them");
            }
        }
        Ok(options)
    }
}

/// `routing replay`: what other settings of the dial would have cost, and sent where.
pub(crate) async fn replay(arguments: &[&str]) -> anyhow::Result<()> {
    let mut options = Options::read(arguments, true)?;
    logging::start("warn")?;
    let (config, config_name) = config()?;
    if options.qualities.is_empty() {
        options.qualities = usual_dials();
    }
    options.qualities.sort_by(f64::total_cmp);
    let mut replay = Replay::new(&config.catalog, &options.qualities);
    let source = visit(&options.wanted, |receipt| replay.add(receipt)).await?;
    if options.is_json {
        logging::say(&replay.to_json().to_string());
    } else {
        logging::say(&as_table(&replay, &config, &format!("{source}, {config_name}")));
    }
    Ok(())
}

fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

fn as_table(replay: &Replay, config: &Config, source: &str) -> String {
    let mut text =
        format!("{} requests whose tier the gateway chose, and {} others ({source})\n", replay.requests, replay.others);
    for (tier, (said, bad)) in config.catalog.tiers.iter().zip(&replay.said) {
        let price = tier.models.first().map_or("none", |model| &*model.name);
        let _ = write!(text, "  {:<12} at the prices of {price}", tier.name);
        let _ = match said {
            0 => writeln!(text),
            said => writeln!(text, "; {:.1} % of {said} answers were called bad", 100.0 * share(*bad, *said)),
        };
    }
    let _ = write!(text, "\nquality");
    for tier in replay.tiers() {
        let _ = write!(text, " {:>12}", format!("to {tier}"));
    }
    let _ = writeln!(text, " {:>16} {:>18}", "cost (USD)", "upgrades");
    let row = |text: &mut String, name: &str, sent: &[u64], cost_nusd: u64, upgrades: &str| {
        let _ = write!(text, "{name:>7}");
        for sent in sent {
            let _ = write!(text, " {:>10.1} %", 100.0 * share(*sent, replay.requests));
        }
        let _ = writeln!(text, " {:>16} {upgrades:>18}", format_usd(cost_nusd));
    };
    row(&mut text, "as was", &replay.sent, replay.cost_nusd, &replay.upgraded.to_string());
    for Would { quality, sent, cost_nusd, avoided, added } in replay.would() {
        row(&mut text, &format!("{quality:.2}"), &sent, cost_nusd, &format!("-{avoided} +{added} (est.)"));
    }
    text.push_str("\nWhere the dial sends as was sent, the cost is what was paid; elsewhere it is the same tokens at the other tier's price.");
    text
}

/// `intents fit`: a correction of the intents' probabilities, as a fragment of the configuration.
pub(crate) async fn fit(arguments: &[&str]) -> anyhow::Result<()> {
    let options = Options::read(arguments, false)?;
    logging::start("warn")?;
    let (config, _) = config()?;
    let mut refit = Refit::new(&config.catalog, &config.intents);
    // What was decided under another correction is on another scale.
    let is_comparable = |version: u64| config.intent.fitted.is_neutral() || version == config.version;
    let source = visit(&options.wanted, |receipt| {
        if is_comparable(receipt.config_version) {
            refit.add(&config.catalog, receipt);
        }
    })
    .await?;
    let report = refit.fit().with_context(|| format!("intents fit ({source})"))?;
    if report.after.log_loss >= report.before.log_loss {
        bail!(
            "intents fit: nothing to change. On receipts that it was not fitted to, the correction is no better: log-loss {:.4}, without it {:.4}",
            report.after.log_loss,
            report.before.log_loss
        );
    }
    logging::say(&fragment(&report, &config, &source));
    Ok(())
}

fn fragment(report: &Report, config: &Config, source: &str) -> String {
    let Report { before, after, quality, requests, said: [good, bad], .. } = report;
    let fitted = config.intent.fitted.then(&report.fitted);
    let mut text = format!(
        "# Fitted to {requests} requests, {good} answers of the weakest tier that were called good and {bad} called bad ({source}).
# Figures are of receipts that it was not fitted to.      before     after
#   log-loss, lower is better                         {:>10.4}{:>10.4}
#   calibration error                                 {:>10.4}{:>10.4}
#   sent to a stronger tier                           {:>8.1} %{:>8.1} %
[intent.fitted]
temperature = {:?}
",
        before.log_loss,
        after.log_loss,
        before.ece,
        after.ece,
        100.0 * before.share_strong,
        100.0 * after.share_strong,
        fitted.temperature
    );
    if !fitted.bias.is_empty() {
        text.push_str("[intent.fitted.bias]\n");
    }
    // The names of intents are plain enough for TOML's quotes.
    for (name, bias) in &fitted.bias {
        let _ = writeln!(text, "\"{name}\" = {bias:?}");
    }
    let _ = write!(
        text,
        "\n# The dial at which as many requests go to a stronger tier as before:\n# [tenant_defaults]\n# quality = {quality:?}"
    );
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use gateway_core::config::SHIPPED;
    use gateway_core::routing::fitted::Fitted;
    use gateway_core::routing::refit::Goodness;

    #[test]
    fn options_are_read_and_what_is_none_is_told() {
        let read = |arguments: &[&str]| Options::read(arguments, true);
        let options =
            read(&["--quality", "0.3", "--json", "--quality", "1", "--from", "2025-11-22", "--to", "2025-11-22"]);
        let options = options.unwrap();
        assert_eq!((options.qualities, options.is_json), (vec![0.3, 1.0], true));
        let day = 1_763_769_600_000;
        assert_eq!((options.wanted.from_ms, options.wanted.to_ms), (Some(day), Some(day + 86_399_999)));
        for wrong in [
            &["--quality", "1.5"][..],
            &["--quality", "nan"],
            &["--quality"],
            &["--from", "yesterday"],
            &["--colour", "red"],
            &["file"],
        ] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
        assert!(Options::read(&["--quality", "0.5"], false).is_err());
    }

    #[test]
    fn a_fragment_is_taken_by_the_configuration_as_it_is_printed() {
        let config = Config::load(SHIPPED, "gateway.toml", &|_| None).unwrap();
        let bias = vec![(config.intents[0].name.clone(), -0.25), (config.intents[1].name.clone(), 1.0)];
        let goodness = Goodness { log_loss: 0.5, ece: 0.1, share_strong: 0.25 };
        let report = Report {
            fitted: Fitted { temperature: 1.5, bias },
            before: goodness,
            after: goodness,
            quality: 0.4,
            requests: 100,
            said: [40, 20],
        };
        let text = format!("{SHIPPED}\n{}", fragment(&report, &config, "a folder"));
        let read = Config::load(&text, "gateway.toml", &|_| None).unwrap();
        assert_eq!(read.intent.fitted.temperature, 1.5);
        let mut expected = report.fitted.bias;
        expected.sort_by(|a, b| a.0.cmp(&b.0));
        let mut found = read.intent.fitted.bias;
        found.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(found, expected);
    }
}
