//! How far a decoded session is from what is known.

use ndarray::{Array2, ArrayView2};
use serde::Serialize;

use super::Trajectory;
use crate::{Error, Result};

/// The middle value, or the mean of the two middle ones; `None` without values.
fn median(mut values: Vec<f64>) -> Option<f64> {
    let middle = values.len().checked_sub(1)? / 2;
    let even = values.len().is_multiple_of(2);
    let (_, low, above) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let low = *low;
    let high = above.iter().copied().min_by(f64::total_cmp);
    Some(match high {
        Some(high) if even => 0.5 * (low + high),
        _ => low,
    })
}

/// Distance between decoded and true position.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PositionError {
    /// Median, cm.
    pub median_cm: f64,
    /// Time bins that count: those within the time for which the truth is known, and where a position was decoded.
    pub n_time: usize,
}

impl PositionError {
    /// Of positions decoded at `time` (T × d; NaN where there is none); `None` if no time bin counts.
    pub fn of(truth: &Trajectory, time: &[f64], decoded: ArrayView2<'_, f64>) -> Option<Self> {
        let (first, last) = (truth.time().first()?, truth.time().last()?);
        let at = truth.at(time);
        let distances: Vec<f64> = time
            .iter()
            .zip(at.rows().into_iter().zip(decoded.rows()))
            .filter(|(t, _)| (first..=last).contains(t))
            .map(|(_, (x, y))| x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt())
            .filter(|distance| !distance.is_nan())
            .collect();
        let n_time = distances.len();
        Some(Self { median_cm: median(distances)?, n_time })
    }
}

/// Absolute differences from a table that is known, taken while rows stream by.
#[derive(Debug, Clone)]
pub struct Difference<'a> {
    table: &'a Array2<f64>,
    values: Vec<f64>,
}

impl<'a> Difference<'a> {
    /// From this table (T × P).
    pub fn from(table: &'a Array2<f64>) -> Self {
        Self { table, values: Vec::with_capacity(table.len()) }
    }

    /// Takes rows of P values, of which the first belongs to row `first`; values beyond the table are left out.
    pub fn add(&mut self, first: usize, rows: &[f32]) {
        let columns = self.table.ncols();
        for (row, known) in rows.chunks_exact(columns.max(1)).zip(self.table.rows().into_iter().skip(first)) {
            self.values.extend(row.iter().zip(known).map(|(x, y)| (f64::from(*x) - y).abs()));
        }
    }

    /// The largest, NaN if any value is NaN; `None` without values.
    pub fn max(&self) -> Option<f64> {
        let larger = |a: f64, b: &f64| if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(*b) };
        (!self.values.is_empty()).then(|| self.values.iter().fold(0.0, larger))
    }

    /// The median; `None` without values.
    pub fn median(&self) -> Option<f64> {
        median(self.values.clone())
    }
}

/// The bin of the largest value of each row of P; the first of equal ones, and none that is NaN.
///
/// # Errors
/// `InvalidArgument` if a row has nothing but NaN.
pub fn most_likely_bins(rows: &[f32], bins: usize) -> Result<Vec<u32>> {
    rows.chunks_exact(bins.max(1))
        .enumerate()
        .map(|(r, row)| {
            let best = row.iter().enumerate().filter(|(_, v)| !v.is_nan());
            let best = best.fold(None, |best: Option<(usize, f32)>, (i, v)| match best {
                Some((_, most)) if most >= *v => best,
                _ => Some((i, *v)),
            });
            best.map(|(i, _)| i as u32)
                .ok_or_else(|| Error::invalid("log likelihood", format!("row {r} has no number")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0]), Some(3.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
        assert_eq!(median(vec![9.0, 1.0, 4.0]), Some(4.0));
        assert_eq!(median(vec![9.0, 1.0, 4.0, 5.0]), Some(4.5));
    }

    #[test]
    fn errors_count_where_the_truth_is_known() {
        let truth = Trajectory::new(vec![1.0, 2.0], array![[0.0, 0.0], [3.0, 4.0]]).unwrap();
        let decoded = array![[9.0, 9.0], [0.0, 0.0], [0.0, 0.0], [9.0, 9.0]];
        let error = PositionError::of(&truth, &[0.5, 1.0, 2.0, 2.5], decoded.view()).unwrap();
        assert_eq!(error, PositionError { median_cm: 2.5, n_time: 2 });
        let decoded = array![[f64::NAN, f64::NAN], [3.0, 4.0]];
        let error = PositionError::of(&truth, &[1.0, 2.0], decoded.view()).unwrap();
        assert_eq!(error, PositionError { median_cm: 0.0, n_time: 1 });
        assert_eq!(PositionError::of(&truth, &[5.0], array![[0.0, 0.0]].view()), None);
    }

    #[test]
    fn differences_do_not_depend_on_chunks_and_keep_nan() {
        let table = array![[1.0, 2.0], [3.0, 4.0]];
        let mut difference = Difference::from(&table);
        assert_eq!(difference.max(), None);
        difference.add(0, &[1.0, 2.5]);
        difference.add(1, &[2.0, 4.25]);
        assert_eq!((difference.max(), difference.median()), (Some(1.0), Some(0.375)));
        difference.add(1, &[f32::NAN, 4.0]);
        assert!(difference.max().unwrap().is_nan());
        assert_eq!(most_likely_bins(&[1.0, 1.0, f32::NAN, 2.0], 2).unwrap(), [0, 1]);
        assert!(most_likely_bins(&[f32::NAN], 1).is_err());
    }
}
