//! Numbers as the labels of a picture show them.

fn with_minus(text: String) -> String {
    text.replace('-', "\u{2212}")
}

pub(crate) fn signed(value: f64, decimals: usize) -> String {
    with_minus(format!("{value:+.decimals$}"))
}

pub(crate) fn significant(value: f64) -> String {
    let digits = if value == 0.0 { 0 } else { (2 - value.abs().log10().floor() as i32).clamp(0, 6) as usize };
    with_minus(format!("{value:.digits$}"))
}

/// With the decimals it needs, at most ten.
pub(crate) fn plain(value: f64) -> String {
    let text = format!("{value:.10}");
    with_minus(text.trim_end_matches('0').trim_end_matches('.').into())
}

/// With a comma between thousands.
pub(crate) fn grouped(n: usize) -> String {
    if n < 1000 { n.to_string() } else { format!("{},{:03}", grouped(n / 1000), n % 1000) }
}

pub(crate) fn seconds(duration: f64) -> String {
    format!("{} s", significant(duration))
}

/// Round values between two bounds, about `count` of them.
pub(crate) fn round_values(low: f64, high: f64, count: f64) -> Vec<f64> {
    let rough = (high - low) / count;
    if !rough.is_finite() || rough <= 0.0 {
        return Vec::new();
    }
    let decade = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * decade).into_iter().find(|s| *s >= rough).unwrap_or(10.0 * decade);
    let first = (low / step - 1e-9).ceil();
    (0..100).map(|i| (first + f64::from(i)) * step).take_while(|v| *v <= high + 1e-9 * step).collect()
}

/// The labels of ticks: as many decimals as their distance needs, or powers of ten.
pub(crate) fn tick_labels(ticks: &[f64]) -> Vec<String> {
    let step = ticks.windows(2).map(|w| w[1] - w[0]).fold(f64::INFINITY, f64::min);
    if !step.is_finite() {
        return ticks.iter().map(|&v| significant(v)).collect();
    }
    let decimals = (-step.log10() - 1e-9).ceil().max(0.0) as usize;
    let long = decimals > 5 || ticks.iter().any(|v| v.abs() >= 1e6);
    let label = |&v: &f64| match v {
        _ if v.abs() < 1e-9 * step => "0".to_string(),
        _ if long => with_minus(format!("{v:.1e}")),
        _ => with_minus(format!("{v:.decimals$}")),
    };
    ticks.iter().map(label).collect()
}
