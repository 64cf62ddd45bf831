//! How much memory a state space needs, before anything is done.

use super::StateSpace;
use crate::{Error, Result};

/// What is asked of a state space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Posteriors from the data so far.
    Filter,
    /// Posteriors from all data.
    Smooth,
    /// The most likely path.
    MostLikelyPath,
}

/// How to do it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Options {
    /// Time bins held at once; by default what stays in a processor's cache (4 MiB), or what needs the least memory if that is more.
    pub chunk_rows: Option<usize>,
    /// Bytes that may be used, for chunks, checkpoints and tables; `None`: no limit.
    pub memory_budget: Option<u64>,
    /// No filtered probability is below this before it is normalised; `None`: no floor. 1e-15 is the reference's. Filter
    /// and smoother only.
    pub probability_floor: Option<f64>,
}

/// Bytes of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Plan {
    /// T.
    pub n_time: usize,
    /// Time bins of a chunk.
    pub chunk_rows: usize,
    /// Chunks.
    pub chunks: usize,
    /// Log likelihoods, states and results of one chunk; of two where the smoother has several.
    pub chunk_bytes: u64,
    /// States at the borders of chunks.
    pub checkpoint_bytes: u64,
    /// Transitions, one step's vectors, and the path.
    pub table_bytes: u64,
}

impl Plan {
    /// All bytes, without the data's source and what the callback keeps.
    pub fn peak_bytes(&self) -> u64 {
        self.chunk_bytes + self.checkpoint_bytes + self.table_bytes
    }
}

/// Chunks grow up to this where nothing speaks against it: they are gone through several times, best in the cache.
const COMFORTABLE: u64 = 4 << 20;

impl StateSpace {
    /// Bytes of one time bin in a chunk.
    fn row_bytes(&self, task: Task) -> u64 {
        let (s, p, k) = (self.n_state_bins() as u64, self.n_bins() as u64, self.states.len() as u64);
        let results = 4 * s + 4 * k + 4 + 8 * self.centers.ncols() as u64;
        match task {
            Task::Filter | Task::Smooth => 4 * p + 8 * p + 8 * s + results + 32,
            Task::MostLikelyPath => 4 * p + 4 * s + 32,
        }
    }

    fn planned(&self, n_time: usize, task: Task, chunk_rows: usize) -> Plan {
        let (s, p) = (self.n_state_bins() as u64, self.n_bins() as u64);
        let chunks = n_time.div_ceil(chunk_rows);
        let checkpoints = if task == Task::Filter { 0 } else { chunks as u64 };
        let path = if task == Task::MostLikelyPath { 4 * n_time as u64 } else { 0 };
        let vectors = 8 * (8 * s + 8 * p);
        Plan {
            n_time,
            chunk_rows,
            chunks,
            // The smoother works on two chunks at once.
            chunk_bytes: self.row_bytes(task).saturating_mul(chunk_rows as u64)
                * if task == Task::Smooth && chunks > 1 { 2 } else { 1 },
            checkpoint_bytes: 8 * s * checkpoints,
            table_bytes: self.walks.iter().map(super::Walk::bytes).sum::<u64>() + vectors + path,
        }
    }

    /// What `n_time` time bins will need.
    ///
    /// # Errors
    /// `InvalidArgument` for no time bin, chunks of none, or a floor outside [0, 1); `OverBudget` if nothing fits.
    pub fn plan(&self, n_time: usize, task: Task, options: &Options) -> Result<Plan> {
        if n_time == 0 {
            return Err(Error::invalid("log likelihood", "no time bin; give at least one"));
        }
        if options.chunk_rows == Some(0) {
            return Err(Error::invalid("chunk_rows", "0, must be at least 1"));
        }
        if let Some(floor) = options.probability_floor
            && !(0.0..1.0).contains(&floor)
        {
            return Err(Error::invalid("probability_floor", format!("{floor}, must be in [0, 1)")));
        }
        let row = self.row_bytes(task);
        // rows · row + T / rows · state is least here.
        let balance = match task {
            Task::Filter => 1,
            _ => ((8 * self.n_state_bins() as u64 * n_time as u64) as f64 / row as f64).sqrt().ceil() as usize,
        };
        let balance = balance.clamp(1, n_time);
        let largest = balance.max((COMFORTABLE / row) as usize).clamp(1, n_time);
        let fits = |plan: &Plan| options.memory_budget.is_none_or(|limit| plan.peak_bytes() <= limit);
        if let Some(rows) = options.chunk_rows {
            let plan = self.planned(n_time, task, rows.min(n_time));
            return if fits(&plan) { Ok(plan) } else { Err(self.over(&plan, task, balance, options)) };
        }
        let (mut low, mut high) = (balance, largest);
        if !fits(&self.planned(n_time, task, low)) {
            return Err(self.over(&self.planned(n_time, task, low), task, balance, options));
        }
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if fits(&self.planned(n_time, task, middle)) {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        Ok(self.planned(n_time, task, low))
    }

    fn over(&self, plan: &Plan, task: Task, balance: usize, options: &Options) -> Error {
        let parts = [
            ("a chunk's states", plan.chunk_bytes),
            ("states at the borders of chunks", plan.checkpoint_bytes),
            ("transitions", plan.table_bytes),
        ];
        let largest = parts.into_iter().max_by_key(|(_, bytes)| *bytes).unwrap_or(("", 0));
        Error::OverBudget {
            needed: plan.peak_bytes(),
            in_use: 0,
            limit: options.memory_budget.unwrap_or(u64::MAX),
            tensor: largest.0.into(),
            tensor_bytes: largest.1,
            least: Some(self.planned(plan.n_time, task, balance).peak_bytes()),
        }
    }
}

/// Zeros, or `OutOfMemory`.
pub(super) fn zeros<T: bytemuck::Zeroable + Clone>(n: usize, what: &str) -> Result<Vec<T>> {
    let mut values = Vec::new();
    let bytes = (n as u64).saturating_mul(size_of::<T>() as u64);
    values.try_reserve_exact(n).map_err(|_| Error::OutOfMemory { bytes, what: what.into() })?;
    values.resize(n, T::zeroed());
    Ok(values)
}
