//! Neurons on lattices: orders in which neighbours are close in memory, and parts of equal size.

use std::ops::Range;

use super::{Distribution, Edges, Network, Neuron, Rule};
use crate::{Error, Result};

/// The most axes that a lattice has.
const AXES: usize = 4;
/// The longest axis: 16 bits of a Morton code.
const LONGEST: u32 = 1 << 16;

/// A lattice of one to four axes. Sites are counted with the last axis running fastest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lattice {
    /// Sites along each axis; 1 along those that it does not have.
    shape: [u32; AXES],
}

/// A lattice cut into slabs.
#[derive(Debug, Clone, PartialEq)]
pub struct Partition {
    /// The axis that is cut.
    pub axis: usize,
    /// Coordinates of each slab along it.
    pub slabs: Vec<Range<u32>>,
    /// Sites of each slab.
    pub sites: Vec<u64>,
    /// (most − fewest) / mean of the sites.
    pub imbalance: f64,
}

/// The Morton code of a site: bit i of coordinate k is bit 4i + k. Along the order of codes, the Z-order, sites that
/// follow each other are mostly neighbours.
///
/// G. M. Morton, "A computer oriented geodetic data base", IBM, 1966.
pub fn morton(coordinates: [u16; AXES]) -> u64 {
    coordinates.iter().enumerate().fold(0, |code, (k, &coordinate)| {
        // Each bit moves to every fourth place.
        let mut bits = u64::from(coordinate);
        bits = (bits | bits << 24) & 0x0000_00ff_0000_00ff;
        bits = (bits | bits << 12) & 0x000f_000f_000f_000f;
        bits = (bits | bits << 6) & 0x0303_0303_0303_0303;
        bits = (bits | bits << 3) & 0x1111_1111_1111_1111;
        code | bits << k
    })
}

/// How local a sequence of accesses is: 1 / (1 + the mean distance between one and the next). 1 for the same place again
/// and again, 1/2 for one place after the other.
pub fn locality_score(accesses: impl IntoIterator<Item = u32>) -> f64 {
    let mut accesses = accesses.into_iter();
    let Some(mut before) = accesses.next() else { return 1.0 };
    let (mut distance, mut jumps) = (0u64, 0u64);
    for access in accesses {
        distance += u64::from(access.abs_diff(before));
        jumps += 1;
        before = access;
    }
    if jumps == 0 { 1.0 } else { 1.0 / (1.0 + distance as f64 / jumps as f64) }
}

impl Lattice {
    /// A lattice with these sites along each axis.
    ///
    /// # Errors
    /// `InvalidArgument` for none or more than four axes, an axis of no or more than 65,536 sites, 2^31 sites or more.
    pub fn new(shape: &[u32]) -> Result<Self> {
        let sites = shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d.into()));
        if !(1..=AXES).contains(&shape.len())
            || shape.iter().any(|d| !(1..=LONGEST).contains(d))
            || sites.is_none_or(|n| n >= 1 << 31)
        {
            let why = format!("{shape:?}; one to four axes of 1 to {LONGEST} sites, and fewer than 2^31 sites in all");
            return Err(Error::invalid("lattice_shape", why));
        }
        let mut padded = [1; AXES];
        padded[..shape.len()].copy_from_slice(shape);
        Ok(Self { shape: padded })
    }

    /// Sites.
    pub fn sites(&self) -> u32 {
        self.shape.iter().product()
    }

    /// The coordinates of a site.
    pub fn coordinates(&self, site: u32) -> [u16; AXES] {
        let mut rest = site;
        let mut coordinates = [0; AXES];
        for (coordinate, &n) in coordinates.iter_mut().zip(&self.shape).rev() {
            *coordinate = (rest % n) as u16;
            rest /= n;
        }
        coordinates
    }

    /// The site at coordinates within the lattice.
    pub fn site(&self, coordinates: [u16; AXES]) -> u32 {
        coordinates.iter().zip(&self.shape).fold(0, |site, (&c, &n)| site * n + u32::from(c))
    }

    /// All sites in Z-order.
    pub fn z_order(&self) -> Vec<u32> {
        self.sorted_by(morton)
    }

    /// Cuts the lattice into `n` slabs along its longest axis (the first of several), each of `floor(length / n)`, the
    /// last with what is left.
    ///
    /// # Errors
    /// `InvalidArgument` for no slab, and for more than the axis has sites.
    pub fn partition(&self, n: u32) -> Result<Partition> {
        let length = self.shape.into_iter().max().unwrap_or(1);
        let axis = self.shape.iter().position(|&d| d == length).unwrap_or(0);
        if n == 0 || n > length {
            let why = format!("{n} parts; from 1 to {length}, the length of the longest axis");
            return Err(Error::invalid("parts", why));
        }
        let width = length / n;
        let slabs: Vec<Range<u32>> =
            (0..n).map(|i| i * width..if i + 1 == n { length } else { (i + 1) * width }).collect();
        let across = u64::from(self.sites() / length);
        let sites: Vec<u64> = slabs.iter().map(|slab| slab.len() as u64 * across).collect();
        // All but the last are the smallest.
        let mean = f64::from(self.sites()) / f64::from(n);
        let imbalance = (u64::from(length - (n - 1) * width) - u64::from(width)) as f64 * across as f64 / mean;
        Ok(Partition { axis, slabs, sites, imbalance })
    }

    /// All sites, slab by slab, each slab in Z-order.
    pub fn slab_order(&self, partition: &Partition) -> Vec<u32> {
        self.sorted_by(|coordinates| {
            let at = u32::from(coordinates[partition.axis]);
            (partition.slabs.partition_point(|slab| slab.end <= at), morton(coordinates))
        })
    }

    fn sorted_by<K: Ord>(&self, key: impl Fn([u16; AXES]) -> K) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.sites()).collect();
        order.sort_by_cached_key(|&site| key(self.coordinates(site)));
        order
    }
}

impl Network {
    /// The same network with the neurons of population `population` in another order: neuron k becomes what neuron
    /// `order[k]` was, with its parameters, listed synapses, spikes and probes. What is drawn is drawn for the new
    /// numbers. The population no longer has a lattice shape, since that tells an order.
    ///
    /// # Errors
    /// `InvalidArgument` for an unknown population and where `order` does not hold each neuron once.
    pub fn reordered(&self, population: &str, order: &[u32]) -> Result<Self> {
        let number = self.population(population)?;
        let size = self.populations[number].size;
        let mut position = vec![u32::MAX; size as usize];
        for (k, &neuron) in order.iter().enumerate() {
            match position.get_mut(neuron as usize) {
                Some(at) if *at == u32::MAX => *at = k as u32,
                _ => {
                    let why = format!("neuron {neuron} of population \"{population}\" is there twice, or is not there");
                    return Err(Error::invalid("order", why));
                }
            }
        }
        if order.len() != size as usize {
            let why = format!("{} neurons; population \"{population}\" has {size}", order.len());
            return Err(Error::invalid("order", why));
        }
        let permuted = |d: &Distribution| match d {
            Distribution::Values(v) if v.len() == order.len() => {
                Distribution::Values(order.iter().map(|&i| v[i as usize]).collect())
            }
            other => other.clone(),
        };
        let parameter = |_: &'static str, d: &Distribution| Ok(permuted(d));
        let mut network = self.clone();
        let this = &mut network.populations[number];
        this.lattice_shape = None;
        this.v_initial = this.v_initial.as_ref().map(permuted);
        this.neuron = match &this.neuron {
            Neuron::IafPscExp(neuron) => Neuron::IafPscExp(neuron.try_map(parameter)?),
            Neuron::IafPscDelta(neuron) => Neuron::IafPscDelta(neuron.try_map(parameter)?),
            Neuron::IafCondExp(neuron) => Neuron::IafCondExp(neuron.try_map(parameter)?),
            Neuron::Izhikevich(neuron) => Neuron::Izhikevich(neuron.try_map(parameter)?),
            Neuron::SpikeSource { times } if times.len() == order.len() => {
                Neuron::SpikeSource { times: order.iter().map(|&i| times[i as usize].clone()).collect() }
            }
            other => other.clone(),
        };
        for probe in network.probes.iter_mut().filter(|p| p.population == population) {
            probe.neurons.iter_mut().filter(|n| **n < size).for_each(|n| *n = position[*n as usize]);
        }
        for projection in &mut network.projections {
            let (from, to) = (projection.source == population, projection.target == population);
            if !from && !to {
                continue;
            }
            let listed = matches!(projection.weight, Distribution::Values(_))
                || matches!(projection.delay, Distribution::Values(_));
            let [sources, targets] = [&projection.source, &projection.target]
                .map(|name| self.population(name).map(|p| self.populations[p].size));
            let (sources, targets) = (sources?, targets?);
            // Rules that say who is connected by number become lists.
            let mut edges = match &projection.rule {
                Rule::Edges(edges) => edges.clone(),
                Rule::OneToOne if listed || from != to => {
                    Edges { sources: (0..sources).collect(), targets: (0..targets).collect() }
                }
                Rule::AllToAll if listed => {
                    let kept = |s: u32, t: u32| !(from && to && !projection.autapses && s == t);
                    let all = (0..sources).flat_map(|s| (0..targets).map(move |t| (s, t)));
                    let (sources, targets) = all.filter(|&(s, t)| kept(s, t)).unzip();
                    Edges { sources, targets }
                }
                Rule::Sonata { edges, .. } => {
                    return Err(Error::file(edges, "must be read before neurons are put into another order"));
                }
                _ => continue,
            };
            for (ends, here) in [(&mut edges.sources, from), (&mut edges.targets, to)] {
                if here {
                    ends.iter_mut().filter(|n| **n < size).for_each(|n| *n = position[*n as usize]);
                }
            }
            projection.rule = Rule::Edges(edges);
        }
        Ok(network)
    }

    /// The network with the neurons of every population that has a lattice shape in Z-order, and for each population the
    /// order: neuron k was neuron `order[k]`.
    ///
    /// # Errors
    /// As [`Network::with_files`]; `InvalidArgument` for a shape that is no lattice of the population's neurons.
    pub fn in_z_order(&self) -> Result<(Self, Vec<Option<Vec<u32>>>)> {
        let mut network = self.with_files()?.into_owned();
        let mut orders = Vec::with_capacity(self.populations.len());
        for population in &self.populations {
            let order =
                population.lattice_shape.as_ref().map(|shape| Ok(Lattice::new(shape)?.z_order())).transpose()?;
            if let Some(order) = &order {
                network = network.reordered(&population.name, order)?;
            }
            orders.push(order);
        }
        Ok((network, orders))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{BuildOptions, Connectivity, IafPscExp, Population, Probe, Projection, Variable};

    #[test]
    fn codes_interleave_bits() {
        for (coordinates, code) in [
            ([1, 0, 0, 0], 1),
            ([0, 1, 0, 0], 2),
            ([0, 0, 1, 0], 4),
            ([0, 0, 0, 1], 8),
            ([3, 0, 0, 0], 17),
            ([49, 49, 19, 9], 3_637_327),
            ([u16::MAX; 4], u64::MAX),
        ] {
            assert_eq!(morton(coordinates), code);
        }
        let mut random = crate::random::Random::new(1, 0);
        for _ in 0..1000 {
            let coordinates: [u16; 4] = std::array::from_fn(|_| random.word() as u16);
            let bit = |i: u32| u64::from(coordinates[i as usize % 4] >> (i / 4) & 1) << i;
            assert_eq!(morton(coordinates), (0..64).map(bit).sum::<u64>());
        }
    }

    #[test]
    fn z_orders_are_orders() {
        assert_eq!(Lattice::new(&[5]).unwrap().z_order(), [0, 1, 2, 3, 4]);
        // The first axis has the lowest bit.
        assert_eq!(Lattice::new(&[2, 4]).unwrap().z_order(), [0, 4, 1, 5, 2, 6, 3, 7]);
        let lattice = Lattice::new(&[7, 3, 5, 4]).unwrap();
        let order = lattice.z_order();
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..420));
        assert!((0..420).all(|i| lattice.site(lattice.coordinates(i)) == i));
        let codes: Vec<u64> = order.iter().map(|&i| morton(lattice.coordinates(i))).collect();
        assert!(codes.windows(2).all(|c| c[0] < c[1]));
    }

    #[test]
    fn neighbours_come_closer_in_z_order() {
        let lattice = Lattice::new(&[16, 16, 16]).unwrap();
        let order = lattice.z_order();
        let mut position = vec![0; order.len()];
        order.iter().enumerate().for_each(|(k, &site)| position[site as usize] = k as u32);
        // Each site, then its neighbour along the first axis.
        let pairs = |at: &dyn Fn(u32) -> u32| {
            let sites = order.iter().filter(|s| lattice.coordinates(**s)[0] + 1 < 16);
            locality_score(sites.flat_map(|&s| [at(s), at(s + 256)]))
        };
        assert!(pairs(&|s| position[s as usize]) > 2.0 * pairs(&|s| s));
        assert_eq!((locality_score([3, 3, 3]), locality_score(0..9), locality_score([])), (1.0, 0.5, 1.0));
        assert_eq!(locality_score([0, 4, 2]), 0.25);
    }

    #[test]
    fn partitions_cut_the_longest_axis() {
        let lattice = Lattice::new(&[50, 50, 20, 10]).unwrap();
        let partition = lattice.partition(4).unwrap();
        assert_eq!(partition.axis, 0);
        assert_eq!(partition.slabs, [0..12, 12..24, 24..36, 36..50]);
        assert_eq!(partition.sites, [120_000, 120_000, 120_000, 140_000]);
        assert!((partition.imbalance - 0.16).abs() < 1e-12);
        let equal = Lattice::new(&[3, 8]).unwrap().partition(4).unwrap();
        assert_eq!((equal.axis, equal.imbalance, &equal.sites[..]), (1, 0.0, &[6, 6, 6, 6][..]));
        for n in [0, 51] {
            let error = lattice.partition(n).unwrap_err().to_string();
            assert!(error.contains("from 1 to 50"), "{error}");
        }
        let order = lattice.slab_order(&partition);
        let slab_of = |site: u32| partition.slabs.iter().position(|s| s.contains(&lattice.coordinates(site)[0].into()));
        assert!(order[..120_000].iter().all(|&s| slab_of(s) == Some(0)));
        assert!(order[360_000..].iter().all(|&s| slab_of(s) == Some(3)));
        let mut sorted = order;
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..500_000));
        for shape in [&[][..], &[1, 2, 3, 4, 5], &[0], &[65_537], &[65_536, 65_536]] {
            assert!(Lattice::new(shape).is_err());
        }
    }

    fn network() -> Network {
        let neuron = |v: f64| {
            let v_rest = (0..6).map(|i| v + f64::from(i)).collect::<Vec<_>>().into();
            Neuron::IafPscExp(IafPscExp { v_rest, ..IafPscExp::default() })
        };
        let population = |name: &str, v| Population {
            name: name.into(),
            size: 6,
            neuron: neuron(v),
            v_initial: Some(vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0].into()),
            lattice_shape: Some(vec![2, 3]),
        };
        let values = |n: i32| Distribution::Values((1..=n).map(|i| f64::from(i) * 0.7).collect());
        let projection = |source: &str, target: &str, rule, weight| Projection {
            source: source.into(),
            target: target.into(),
            rule,
            weight,
            delay: 1.0.into(),
            autapses: false,
            multapses: true,
            plasticity: None,
        };
        let edges = Edges { sources: vec![0, 5, 3, 3], targets: vec![1, 2, 4, 4] };
        Network {
            populations: vec![population("A", -70.0), population("B", -80.0)],
            projections: vec![
                projection("A", "B", Rule::Edges(edges.clone()), values(4)),
                projection("A", "A", Rule::Edges(edges), 2.0.into()),
                projection("A", "B", Rule::OneToOne, 3.0.into()),
                projection("B", "A", Rule::OneToOne, values(6)),
                Projection { autapses: true, ..projection("B", "B", Rule::OneToOne, values(6)) },
                projection("A", "A", Rule::AllToAll, values(30)),
                projection("B", "A", Rule::AllToAll, 1.0.into()),
            ],
            probes: vec![Probe { population: "A".into(), variable: Variable::V, neurons: vec![1, 4], interval: None }],
            ..Network::default()
        }
    }

    /// Every synapse between neurons as they were numbered before.
    fn synapses(network: &Network, orders: &[Vec<u32>]) -> Vec<(usize, u32, usize, u32, i32, u32)> {
        let built = Connectivity::build(network, &BuildOptions::default()).unwrap();
        let old = |neuron: u32| {
            let (p, i) = built.layout.locate(neuron).unwrap();
            (p, orders[p][i as usize])
        };
        let mut all = Vec::new();
        for table in &built.tables {
            for row in 0..table.rows() {
                for i in table.row_offsets[row] as usize..table.row_offsets[row + 1] as usize {
                    let ((p, s), (q, t)) = (old(table.first_source + row as u32), old(table.target(i)));
                    all.push((p, s, q, t, table.weight(row, i), table.delay(i)));
                }
            }
        }
        all.sort_unstable();
        all
    }

    #[test]
    fn a_reordered_network_is_the_same_network() {
        let before = network();
        before.check().unwrap();
        let (after, orders) = before.in_z_order().unwrap();
        after.check().unwrap();
        let orders: Vec<Vec<u32>> = orders.into_iter().map(Option::unwrap).collect();
        assert_eq!(orders[0], [0, 3, 1, 4, 2, 5]);
        let same: Vec<u32> = (0..6).collect();
        assert_eq!(synapses(&after, &orders), synapses(&before, &[same.clone(), same]));
        assert_eq!(after.populations[0].lattice_shape, None);
        assert_eq!(after.populations[1].v_initial, Some(vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0].into()));
        let Neuron::IafPscExp(neuron) = &after.populations[0].neuron else { panic!("another model") };
        assert_eq!(neuron.v_rest, vec![-70.0, -67.0, -69.0, -66.0, -68.0, -65.0].into());
        assert_eq!(after.probes[0].neurons, [2, 3]);
    }

    #[test]
    fn wrong_orders_are_refused() {
        let network = network();
        for (order, words) in [
            (&[0, 1, 2, 3, 4, 4][..], "neuron 4 of population \"A\" is there twice"),
            (&[0, 1, 2, 3, 4, 6], "neuron 6"),
            (&[0, 1, 2], "3 neurons; population \"A\" has 6"),
        ] {
            let error = network.reordered("A", order).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        assert!(network.reordered("C", &[0]).unwrap_err().to_string().contains("\"C\" is unknown; there are A, B"));
    }
}
