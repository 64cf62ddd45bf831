//! What the twins of all neuron kernels share: `shaders/shared/neuron.wgsl` for vectors of neurons.

use rayon::prelude::*;

use super::lanes::Lanes;
use super::parallel::Scattered;

/// Words of a tile, and of a population before its parameter rows.
const TILE_WORDS: usize = 4;
const POPULATION_HEAD: usize = 4;
/// Neurons of a tile at most.
pub(super) const TILE: usize = 256;
/// Tiles (about 20 us of work) for which threads are worth waking, and tiles of a task.
const LEAST_TILES: usize = 192;
const TILES_A_TASK: usize = 48;
/// A state below this is zero, as `settle` has it.
pub(super) const FLOOR: f32 = 1e-15;

/// `Params`, which is the same for all neuron kernels.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub k: usize,
    pub steps: usize,
    pub stride: usize,
    pub slots: usize,
    pub planes: usize,
    pub driven: bool,
    /// Length of a row of the state.
    pub neurons: usize,
    pub populations: usize,
    pub population_words: usize,
    pub options: u32,
}

/// One step of one kind's neurons.
pub(super) struct Job<'a> {
    pub shape: Shape,
    /// The step of the network.
    pub step: u32,
    /// The low and the high word of the seed.
    pub seed: [u32; 2],
    pub table: &'a [u32],
    /// Rows of the state.
    rows: usize,
    state: Scattered<u32>,
    ring: Scattered<u32>,
    drive: &'a [i32],
    raster: Scattered<u32>,
}

/// A kernel's parameters and tensors as a [`Job`], with its spike list; `None` where the clock says that this step is not
/// carried out.
macro_rules! job {
    ($p:expr, $a:expr) => {
        crate::device::cpu::neuron::Job::new(
            crate::device::cpu::neuron::Shape {
                k: $p.k as usize,
                steps: $p.steps as usize,
                stride: $p.stride as usize,
                slots: $p.slots as usize,
                planes: $p.planes as usize,
                driven: $p.driven == 1,
                neurons: $p.neurons as usize,
                populations: $p.populations as usize,
                population_words: $p.population_words as usize,
                options: $p.options,
            },
            ($a.clock, $a.table, $a.drive),
            ($a.state, $a.ring, $a.raster),
        )
        .map(|job| (job, $a.spikes))
    };
}
pub(super) use job;

/// Up to 256 neurons of one population, a multiple of 32 with padding.
pub(super) struct Tile<'a> {
    /// Its first neuron's index, and place in the rows of the state.
    pub first: usize,
    pub own: usize,
    /// The first neuron's place within the population.
    pub within: usize,
    pub count: usize,
    /// The words of its population.
    population: &'a [u32],
}

impl<'a> Job<'a> {
    pub(super) fn new(
        shape: Shape,
        (clock, table, drive): (&[u32], &'a [u32], &'a [i32]),
        (state, ring, raster): (&'a mut [u32], &'a mut [u32], &'a mut [u32]),
    ) -> Option<Self> {
        if shape.k >= clock[1] as usize {
            return None;
        }
        let Shape { steps, stride, slots, planes, .. } = shape;
        // The op has made them so; raw pointers follow.
        assert!(ring.len() >= slots * planes * stride && slots.is_power_of_two(), "the ring is too short");
        assert!(raster.len() >= steps * stride / 32 && shape.k < steps, "the raster is too short");
        assert!(!shape.driven || drive.len() >= planes * steps * stride, "the drive is too short");
        Some(Self {
            shape,
            step: clock[0].wrapping_add(shape.k as u32),
            seed: [clock[2], clock[3]],
            table,
            rows: state.len() / shape.neurons,
            state: Scattered::new(state),
            ring: Scattered::new(ring),
            drive,
            raster: Scattered::new(raster),
        })
    }

    fn tile(&self, i: usize) -> Tile<'a> {
        let words = &self.table[i * TILE_WORDS..][..TILE_WORDS];
        let at = self.shape.populations + words[2] as usize * self.shape.population_words;
        let population = &self.table[at..][..self.shape.population_words];
        let tile = Tile {
            first: words[0] as usize,
            own: words[3] as usize,
            within: words[0].wrapping_sub(population[2]) as usize,
            count: words[1] as usize,
            population,
        };
        let padded = tile.padded();
        let fits = tile.own + padded <= self.shape.neurons && tile.first + padded <= self.shape.stride;
        assert!(padded <= TILE && fits && tile.first.is_multiple_of(32), "a tile outside the neurons");
        tile
    }

    /// Runs `update` for every tile, on threads where that pays; then lists and counts the spikes that it has left in the
    /// raster.
    pub(super) fn run(&self, spikes: &mut [u32], update: impl Fn(&Self, &Tile<'a>) + Sync) {
        let tiles = self.shape.populations / TILE_WORDS;
        if tiles < LEAST_TILES {
            for i in 0..tiles {
                update(self, &self.tile(i));
            }
        } else {
            let work = (0..tiles).into_par_iter().with_min_len(TILES_A_TASK);
            work.for_each(|i| update(self, &self.tile(i)));
        }
        let (counts, list) = spikes.split_at_mut(self.shape.steps);
        let mut n = counts[self.shape.k] as usize;
        for i in 0..tiles {
            let tile = self.tile(i);
            let words = tile.padded() / 32;
            // SAFETY: no tile is being updated.
            let raster = unsafe { self.raster.part((self.shape.k * self.shape.stride + tile.first) / 32, words) };
            for (w, &word) in raster.iter().enumerate() {
                let mut word = word;
                while word != 0 {
                    let at = w * 32 + word.trailing_zeros() as usize;
                    word &= word - 1;
                    list[n] = (tile.first + at) as u32;
                    n += 1;
                    // SAFETY: as above.
                    unsafe { self.state.part(tile.own + at, 1)[0] += 1 };
                }
            }
        }
        counts[self.shape.k] = n as u32;
    }

    /// Row `row` of the tile's state.
    pub(super) fn state(&self, tile: &Tile<'_>, row: usize) -> *mut u32 {
        self.state.at(row * self.shape.neurons + tile.own)
    }

    /// The same of f32.
    pub(super) fn state_f(&self, tile: &Tile<'_>, row: usize) -> *mut f32 {
        self.state(tile, row).cast()
    }

    /// The tile's input of a plane that arrives at the end of this step.
    pub(super) fn input(&self, tile: &Tile<'_>, plane: usize) -> Input<'_> {
        let Shape { k, steps, stride, slots, planes, driven, .. } = self.shape;
        let slot = self.step as usize & (slots - 1);
        let ring = self.ring.at((slot * planes + plane) * stride + tile.first);
        let drive = driven.then(|| &self.drive[(plane * steps + k) * stride + tile.first..][..tile.padded()]);
        Input { ring, drive }
    }

    /// Ends a tile's update: writes its spikes, bit i of word i / 64 neuron i's, and sets its padding to zero again.
    ///
    /// # Safety
    /// No other thread has the tile.
    pub(super) unsafe fn emit(&self, tile: &Tile<'_>, fired: &[u64; TILE / 64]) {
        let at = (self.shape.k * self.shape.stride + tile.first) / 32;
        // SAFETY: the caller's promise; tiles begin at words of their own.
        let raster = unsafe { self.raster.part(at, tile.padded() / 32) };
        for (w, word) in raster.iter_mut().enumerate() {
            let left = tile.count - w * 32;
            let live = if left < 32 { (1 << left) - 1 } else { u32::MAX };
            *word = (fired[w / 2] >> (w % 2 * 32)) as u32 & live;
        }
        let padding = tile.padded() - tile.count;
        if padding > 0 {
            for row in 1..self.rows {
                let at = row * self.shape.neurons + tile.own + tile.count;
                // SAFETY: as above.
                unsafe { self.state.part(at, padding).fill(0) };
            }
        }
    }
}

impl Tile<'_> {
    /// Neurons with padding: what vectors run over.
    pub(super) fn padded(&self) -> usize {
        self.count.next_multiple_of(32)
    }

    /// Whether any of these parameter rows has a value a neuron.
    pub(super) fn each(&self, rows: u32) -> bool {
        self.population[0] & rows != 0
    }

    /// What one unit of input is.
    pub(super) fn unit(&self) -> f32 {
        f32::from_bits(self.population[3])
    }

    /// Where in the table the population's lists begin.
    pub(super) fn lists(&self) -> usize {
        self.population[1] as usize
    }

    /// The shared word of a parameter row.
    pub(super) fn shared(&self, row: usize) -> u32 {
        self.population[POPULATION_HEAD + row]
    }

    /// The words of a parameter row for the tile's neurons, with padding; one word where it is shared.
    pub(super) fn words<'t>(&self, table: &'t [u32], row: usize) -> Words<'t>
    where
        Self: 't,
    {
        let word = self.shared(row);
        if self.population[0] >> row & 1 == 0 {
            return Words::Shared(word);
        }
        Words::Each(&table[word as usize + self.within..][..self.padded()])
    }
}

/// A parameter row.
#[derive(Clone, Copy)]
pub(super) enum Words<'a> {
    Shared(u32),
    Each(&'a [u32]),
}

impl Words<'_> {
    /// The vector at neuron `i` of the tile; `EACH = false`: it is known to be shared.
    ///
    /// # Safety
    /// As [`Lanes`]; `i + L::N` neurons are in the tile.
    #[inline(always)]
    pub(super) unsafe fn f<L: Lanes, const EACH: bool>(self, i: usize) -> L::F {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Words::Each(words) if EACH => L::load(words.as_ptr().add(i).cast()),
                Words::Each(_) => L::splat(0.0),
                Words::Shared(word) => L::splat(f32::from_bits(word)),
            }
        }
    }

    /// The same as integers.
    ///
    /// # Safety
    /// As [`Self::f`].
    #[inline(always)]
    pub(super) unsafe fn u<L: Lanes, const EACH: bool>(self, i: usize) -> L::U {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Words::Each(words) if EACH => L::load_u(words.as_ptr().add(i)),
                Words::Each(_) => L::splat_u(0),
                Words::Shared(word) => L::splat_u(word),
            }
        }
    }
}

/// A tile's input of one plane.
#[derive(Clone, Copy)]
pub(super) struct Input<'a> {
    ring: *mut u32,
    drive: Option<&'a [i32]>,
}

impl Input<'_> {
    /// Takes the vector at neuron `i` of the tile, and leaves zero.
    ///
    /// # Safety
    /// As [`Lanes`]; `i + L::N` neurons are in the tile, which no other thread has.
    #[inline(always)]
    pub(super) unsafe fn take<L: Lanes>(self, i: usize) -> L::U {
        // SAFETY: the caller's promise.
        unsafe {
            let at = self.ring.add(i);
            let waiting = L::load_u(at);
            L::store_u(at, L::splat_u(0));
            match self.drive {
                Some(drive) => L::add_u(waiting, L::load_u(drive.as_ptr().add(i).cast())),
                None => waiting,
            }
        }
    }
}

/// The sum of two f32.
#[derive(Clone, Copy)]
pub(super) struct Pair<L: Lanes>(pub L::F, pub L::F);

impl<L: Lanes> Pair<L> {
    /// # Safety
    /// As [`Lanes`]; both rows have `i + L::N` neurons.
    #[inline(always)]
    pub(super) unsafe fn load(high: *const f32, low: *const f32, i: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self(L::load(high.add(i)), L::load(low.add(i))) }
    }

    /// # Safety
    /// As [`Self::load`].
    #[inline(always)]
    pub(super) unsafe fn store(self, high: *mut f32, low: *mut f32, i: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            L::store(high.add(i), self.0);
            L::store(low.add(i), self.1);
        }
    }

    /// # Safety
    /// As [`Lanes`].
    #[inline(always)]
    pub(super) unsafe fn select(m: L::M, a: Self, b: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self(L::select(m, a.0, b.0), L::select(m, a.1, b.1)) }
    }

    /// `x + input − fall·x` with `x` settled; `decayed` of the shader.
    ///
    /// # Safety
    /// As [`Lanes`].
    #[inline(always)]
    pub(super) unsafe fn decayed(self, fall: Self, input: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            let high = L::sub(input.0, L::mul(fall.0, self.0));
            let low = L::sub(L::add(input.1, self.1), L::mul(fall.1, self.0));
            two_sum::<L>(self.0, L::add(high, low)).settled()
        }
    }

    /// # Safety
    /// As [`Lanes`].
    #[inline(always)]
    pub(super) unsafe fn settled(self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self(L::cut(self.0, FLOOR), self.1) }
    }
}

/// a + b, and what rounding took from it (Knuth).
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
pub(super) unsafe fn two_sum<L: Lanes>(a: L::F, b: L::F) -> Pair<L> {
    // SAFETY: the caller's promise.
    unsafe {
        let s = L::add(a, b);
        let bb = L::sub(s, a);
        Pair(s, L::add(L::sub(a, L::sub(s, bb)), L::sub(b, bb)))
    }
}

/// Integers times a power of two as the sum of two f32, the first the nearest; nothing is lost.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
pub(super) unsafe fn exact<L: Lanes>(x: L::U, scale: L::F) -> Pair<L> {
    // SAFETY: the caller's promise.
    unsafe {
        let near = L::from_i(x);
        let rest = L::from_i(L::sub_u(x, L::to_i(near)));
        Pair(L::mul(near, scale), L::mul(rest, scale))
    }
}
