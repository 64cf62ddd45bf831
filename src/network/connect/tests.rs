use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;

use super::*;
use crate::network::{Distribution, Edges, IafCondExp, IafPscExp, Input, Neuron, Population, StdpRule};
use crate::ops::{Delays, Targets, Weights};

fn population(name: &str, size: u32) -> Population {
    let neuron = Neuron::IafPscExp(IafPscExp::default());
    Population { name: name.into(), size, neuron, v_initial: None, lattice_shape: None }
}

fn projection(source: &str, target: &str, rule: Rule) -> Projection {
    Projection {
        source: source.into(),
        target: target.into(),
        rule,
        weight: 1.0.into(),
        delay: 1.5.into(),
        autapses: true,
        multapses: true,
        plasticity: None,
    }
}

/// Populations A of 50 neurons and B of 40, and one projection.
fn network(projection: Projection) -> Network {
    Network {
        populations: vec![population("A", 50), population("B", 40)],
        projections: vec![projection],
        seed: 11,
        ..Network::default()
    }
}

fn build(network: &Network) -> Connectivity {
    let built = Connectivity::build(network, &BuildOptions::default()).unwrap();
    built.tables.iter().for_each(|t| t.check().unwrap());
    built.plastic.iter().for_each(|t| t.check().unwrap());
    built
}

/// Source and target (neurons), weight and delay of every synapse, sorted.
fn synapses(built: &Connectivity) -> Vec<(u32, u32, i32, u32)> {
    let mut all = Vec::new();
    for table in &built.tables {
        for row in 0..table.rows() {
            let source = table.first_source + row as u32;
            for i in table.row_offsets[row] as usize..table.row_offsets[row + 1] as usize {
                all.push((source, table.target(i), table.weight(row, i), table.delay(i)));
            }
        }
    }
    all.sort_unstable();
    all
}

/// Indices of source and target within their populations.
fn pairs(network: &Network) -> Vec<(u32, u32)> {
    let built = build(network);
    let local = |neuron| built.layout.locate(neuron).unwrap().1;
    synapses(&built).into_iter().map(|(s, t, ..)| (local(s), local(t))).collect()
}

/// Sum over bins of (count − mean)²/mean: close to the number of bins if all are as likely.
fn chi_square(bins: usize, values: impl Iterator<Item = u32>) -> f64 {
    let mut counts = vec![0f64; bins];
    values.for_each(|v| counts[v as usize] += 1.0);
    let mean = counts.iter().sum::<f64>() / bins as f64;
    counts.iter().map(|c| (c - mean).powi(2) / mean).sum()
}

fn assert_uniform(bins: usize, values: impl Iterator<Item = u32>) {
    let (chi, degrees) = (chi_square(bins, values), bins as f64 - 1.0);
    assert!((chi - degrees).abs() < 4.5 * (2.0 * degrees).sqrt(), "{chi} with {degrees} degrees of freedom");
}

#[test]
fn populations_begin_at_multiples_of_32() {
    let layout = Layout::new([33, 0, 32, 1]).unwrap();
    assert_eq!((layout.first.as_slice(), layout.stride), ([0, 64, 64, 96].as_slice(), 128));
    assert_eq!(layout.locate(32), Some((0, 32)));
    assert_eq!((layout.locate(33), layout.locate(96), layout.locate(97)), (None, Some((3, 0)), None));
    assert_eq!(layout.locate(64), Some((2, 0)));
    assert!(Layout::new([1 << 30, 1 << 30, 1]).is_err());
}

#[test]
fn every_rule_connects_as_it_says() {
    let all: Vec<(u32, u32)> = (0..50).flat_map(|s| (0..40).map(move |t| (s, t))).collect();
    assert_eq!(pairs(&network(projection("A", "B", Rule::AllToAll))), all);
    let same: Vec<(u32, u32)> = (0..50).map(|i| (i, i)).collect();
    assert_eq!(pairs(&network(projection("A", "A", Rule::OneToOne))), same);
    let edges = Edges { sources: vec![7, 3, 7, 3], targets: vec![1, 2, 0, 2] };
    let listed = pairs(&network(projection("A", "B", Rule::Edges(edges))));
    assert_eq!(listed, [(3, 2), (3, 2), (7, 0), (7, 1)]);
    for multapses in [true, false] {
        let with = |rule| network(Projection { multapses, ..projection("A", "B", rule) });
        let twice = |pairs: &[(u32, u32)]| pairs.windows(2).any(|p| p[0] == p[1]);
        let total = pairs(&with(Rule::FixedTotalNumber(900)));
        assert_eq!((total.len(), twice(&total)), (900, multapses));
        let incoming = pairs(&with(Rule::FixedInDegree(20)));
        assert!((0..40).all(|t| incoming.iter().filter(|p| p.1 == t).count() == 20));
        assert_eq!(twice(&incoming), multapses);
        let outgoing = pairs(&with(Rule::FixedOutDegree(20)));
        assert!((0..50).all(|s| outgoing.iter().filter(|p| p.0 == s).count() == 20));
        assert_eq!(twice(&outgoing), multapses);
        // Two directions, two different draws.
        assert_ne!(incoming, outgoing);
    }
    // All of them, almost all, and none.
    for n in [0, 1, 1999, 2000] {
        let rule = Rule::FixedTotalNumber(n);
        let found = pairs(&network(Projection { multapses: false, ..projection("A", "B", rule) }));
        assert_eq!(found.iter().collect::<HashSet<_>>().len() as u64, n);
    }
    for (p, n) in [(0.0, 0), (1.0, 2000)] {
        assert_eq!(pairs(&network(projection("A", "B", Rule::FixedProbability(p)))).len(), n);
    }
}

#[test]
fn autapses_are_left_out_where_they_are_excluded() {
    for rule in [
        Rule::AllToAll,
        Rule::FixedTotalNumber(2400),
        Rule::FixedInDegree(49),
        Rule::FixedOutDegree(49),
        Rule::FixedProbability(0.9),
    ] {
        for multapses in [true, false] {
            let within = |autapses| {
                let projection = projection("A", "A", rule.clone());
                pairs(&network(Projection { autapses, multapses, ..projection }))
            };
            assert!(within(false).iter().all(|(s, t)| s != t), "{rule:?}");
            assert!(within(true).iter().any(|(s, t)| s == t), "{rule:?}");
            // Every pair of different neurons can occur.
            let found: HashSet<_> = within(false).into_iter().collect();
            assert!(found.iter().map(|p| p.1).collect::<HashSet<_>>().len() == 50, "{rule:?}");
        }
    }
}

#[test]
fn sources_and_targets_are_uniform() {
    for (rule, autapses, multapses) in [
        (Rule::FixedTotalNumber(200_000), true, true),
        (Rule::FixedTotalNumber(200_000), false, true),
        (Rule::FixedTotalNumber(100_000), true, false),
        (Rule::FixedTotalNumber(200_000), false, false),
        (Rule::FixedInDegree(300), false, true),
        (Rule::FixedInDegree(150), true, false),
        (Rule::FixedOutDegree(300), true, true),
        (Rule::FixedOutDegree(150), false, false),
        (Rule::FixedProbability(0.3), true, true),
        (Rule::FixedProbability(0.02), false, true),
    ] {
        let projection = Projection { autapses, multapses, ..projection("A", "A", rule) };
        let mut network = network(projection);
        network.populations[0].size = 600;
        let found = pairs(&network);
        // Draws without replacement vary less than independent ones.
        let limit = |chi: f64| assert!(chi < 600.0 + 4.5 * 1200f64.sqrt(), "{chi}");
        limit(chi_square(600, found.iter().map(|p| p.0)));
        limit(chi_square(600, found.iter().map(|p| p.1)));
        limit(chi_square(599, found.iter().filter(|p| p.0 != p.1).map(|p| (p.1 + 600 - p.0) % 600 - 1)));
    }
}

#[test]
fn a_probability_gives_the_mean_and_spread_of_independent_pairs() {
    let counts: Vec<f64> = (0..200)
        .map(|seed| {
            let network = Network { seed, ..network(projection("A", "B", Rule::FixedProbability(0.1))) };
            build(&network).synapses() as f64
        })
        .collect();
    let mean = counts.iter().sum::<f64>() / 200.0;
    let variance = counts.iter().map(|c| (c - mean).powi(2)).sum::<f64>() / 199.0;
    // 2,000 pairs: 200 ± 13.4.
    assert!((mean - 200.0).abs() < 4.0, "{mean}");
    assert!((variance - 180.0).abs() < 4.0 * 180.0 * (2f64 / 199.0).sqrt(), "{variance}");
}

#[test]
fn weights_and_delays_follow_their_distributions() {
    let rule = Rule::FixedTotalNumber(100_000);
    let mut network = network(Projection {
        weight: Distribution::truncated(87.8, 8.78, 0.0, f64::INFINITY),
        delay: Distribution::truncated(1.5, 0.75, 0.05, f64::INFINITY),
        ..projection("A", "B", rule)
    });
    network.populations[0].size = 1000;
    let built = build(&network);
    let unit = f64::from(built.exponents[1]).exp2();
    let moments = |x: Vec<f64>| {
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        (mean, (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64).sqrt())
    };
    let all = synapses(&built);
    let (mean, std) = moments(all.iter().map(|s| f64::from(s.2) / unit).collect());
    assert!((mean - 87.8).abs() < 0.1 && (std - 8.78).abs() < 0.1, "{mean} {std}");
    // Normal from −1.933 standard deviations on: mean 1.5465, standard deviation 0.7053; and that of rounding, 0.0289.
    let (mean, std) = moments(all.iter().map(|s| f64::from(s.3) * 0.1).collect());
    assert!((mean - 1.5465).abs() < 0.01 && (std - 0.7059).abs() < 0.01, "{mean} {std}");
    assert_eq!(built.max_delay, all.iter().map(|s| s.3).max().unwrap());
    assert!(all.iter().any(|s| s.3 == 1));
    // Weights of a source, and those of different sources, are not the same.
    assert!(all.iter().map(|s| s.2).collect::<HashSet<_>>().len() > 50_000);
}

#[test]
fn listed_weights_are_rounded_once() {
    let n = 4000u32;
    let mut random = crate::random::Random::new(3, 0);
    let weights: Vec<f64> = (0..n).map(|i| random.normal() * if i % 7 == 0 { 500.0 } else { 0.3 }).collect();
    let delays: Vec<f64> = (0..n).map(|i| f64::from(1 + i % 255) * 0.1).collect();
    let edges =
        Edges { sources: (0..n).map(|i| i * 7919 % 50).collect(), targets: (0..n).map(|i| i * 104_729 % 40).collect() };
    let network = network(Projection {
        weight: weights.clone().into(),
        delay: delays.into(),
        ..projection("A", "B", Rule::Edges(edges.clone()))
    });
    let built = build(&network);
    let unit = f64::from(built.exponents[1]).exp2();
    let mut expected: Vec<(u32, u32, i32, u32)> = (0..n as usize)
        .map(|i| {
            let (source, target) = (edges.sources[i], 64 + edges.targets[i]);
            (source, target, (weights[i] * unit).round() as i32, 1 + i as u32 % 255)
        })
        .collect();
    expected.sort_unstable();
    assert_eq!(synapses(&built), expected);
    assert_eq!(built.max_delay, 255);
}

#[test]
fn sums_of_everything_fit_and_units_are_as_fine_as_that_allows() {
    for (weight, events) in [(0.37, 0.0), (87.8, 2.0), (-5e5, 0.0), (3e6, 100.0)] {
        let mut network = network(Projection {
            weight: Distribution::truncated(weight, f64::abs(weight) * 0.1, -1e9, 1e9),
            ..projection("A", "B", Rule::FixedInDegree(900))
        });
        network.projections.push(Projection { weight: (-weight).into(), ..network.projections[0].clone() });
        let rate = events / network.dt * 1e3;
        network.inputs.push(Input::Poisson { target: "B".into(), rate, weight, start: 0.0, stop: 1.0 });
        let built = build(&network);
        let mut sums: BTreeMap<(u32, bool), i64> = BTreeMap::new();
        for (_, target, weight, _) in synapses(&built) {
            *sums.entry((target, weight > 0)).or_default() += i64::from(weight).abs();
        }
        let unit = f64::from(built.exponents[1]).exp2();
        let poisson = (weight.abs() * unit * events * 2.0) as i64;
        let most = sums.values().max().unwrap() + poisson;
        assert!(most <= i64::from(i32::MAX), "{weight}: {most}");
        // Twice as fine would not fit, or nearly so with the bounds that are taken for Poisson inputs.
        let bound = if events > 0.0 { 3 } else { 1 };
        assert!(most << bound > i64::from(i32::MAX), "{weight}: {most}");
    }
}

#[test]
fn weights_too_unequal_for_whole_units_are_refused() {
    let mut network = network(projection("A", "B", Rule::FixedInDegree(1000)));
    network.inputs.push(Input::Poisson { target: "B".into(), rate: 1e6, weight: 1e8, start: 0.0, stop: 1.0 });
    let error = Connectivity::build(&network, &BuildOptions::default()).unwrap_err().to_string();
    assert!(error.contains("\"B\"") && error.contains("1024 units"), "{error}");
}

#[test]
fn one_weight_a_row_where_sources_have_one() {
    // As in the network of Vogels and Abbott: two weights, each that of a population of sources.
    let mut network =
        Network { populations: vec![population("E", 800), population("I", 200)], dt: 0.1, ..Network::default() };
    for (source, weight) in [("E", 1.62), ("I", -9.0)] {
        for target in ["E", "I"] {
            let projection = projection(source, target, Rule::FixedProbability(0.02));
            network.projections.push(Projection { weight: weight.into(), delay: 0.1.into(), ..projection });
        }
    }
    let built = build(&network);
    assert_eq!(built.tables.len(), 1);
    let table = &built.tables[0];
    assert!(matches!((&table.targets, &table.delays), (Targets::U16(_), Delays::All(1))));
    let Weights::Row(rows) = &table.weights else { panic!("weights of synapses") };
    assert_eq!(built.exponents[0], built.exponents[1]);
    let unit = f64::from(built.exponents[0]).exp2();
    assert!(rows[..800].iter().all(|&w| w == (1.62 * unit).round() as i32));
    assert!(rows[800..1000].iter().all(|&w| w == (-9.0 * unit).round() as i32));
    assert_eq!(table.synapses() as u64, built.synapses());
    // With another weight onto one population, its synapses go into a table of their own.
    network.projections[1].weight = 2.0.into();
    let built = build(&network);
    let kinds: Vec<bool> = built.tables.iter().map(|t| matches!(t.weights, Weights::Row(_))).collect();
    assert_eq!(kinds, [false, true]);
    assert!(
        synapses(&built)
            .iter()
            .filter(|s| s.0 < 800 && s.1 >= 800)
            .all(|s| { s.2 == (2.0 * f64::from(built.exponents[1]).exp2()).round() as i32 })
    );
}

#[test]
fn large_populations_and_many_populations_are_split() {
    // 70,000 targets take more than 16 bits; the next two populations share a table.
    let mut network = Network {
        populations: vec![population("large", 70_000), population("A", 40_000), population("B", 20_000)],
        ..Network::default()
    };
    for target in ["large", "A", "B"] {
        let rule = Rule::FixedInDegree(2);
        let weight = Distribution::uniform(1.0, 2.0);
        network.projections.push(Projection { weight, ..projection("A", target, rule) });
    }
    let built = build(&network);
    assert_eq!(built.tables.len(), 2);
    assert!(matches!(built.tables[0].targets, Targets::U32(_)));
    assert!(matches!(built.tables[1].targets, Targets::U16(_)));
    assert_eq!(built.synapses_of, [140_000, 80_000, 40_000]);
    let found = synapses(&built);
    for p in 0..3 {
        let targets = built.layout.range(p);
        assert_uniform(targets.len().min(1000), {
            // In-degrees are exact; the sources are uniform.
            found.iter().filter(|s| targets.contains(&s.1)).map(|s| (s.0 - built.layout.first[1]) % 1000)
        });
    }
}

#[test]
fn tables_are_cut_where_arrays_would_be_too_large() {
    let mut network = network(Projection {
        weight: Distribution::uniform(-1.0, 1.0),
        delay: Distribution::uniform(0.1, 20.0),
        ..projection("A", "B", Rule::FixedTotalNumber(10_000))
    });
    let whole = build(&network);
    assert_eq!(whole.tables.len(), 1);
    for plastic in [false, true] {
        if plastic {
            network.projections[0].plasticity = Some(stdp(-1.0, 1.0));
        }
        let options = |max_tensor_bytes| BuildOptions { max_tensor_bytes, ..BuildOptions::default() };
        let cut = Connectivity::build(&network, &options(5000)).unwrap();
        let n = cut.tables.len() + cut.plastic.len();
        assert!((8..13).contains(&n), "{n}");
        for table in &cut.tables {
            table.check().unwrap();
            assert!(table.synapses() * 4 <= 5000);
        }
        assert!(cut.plastic.iter().all(|t| t.check().is_ok() && t.weights.len() * 4 <= 5000));
        if !plastic {
            assert_eq!(synapses(&cut), synapses(&whole));
        }
        let error = Connectivity::build(&network, &options(400)).unwrap_err().to_string();
        assert!(error.contains("the synapses of one neuron need"), "{error}");
    }
}

fn stdp(w_min: f64, w_max: f64) -> Stdp {
    let rule = StdpRule::Additive;
    Stdp { tau_plus: 20.0, tau_minus: 20.0, a_plus: 0.1, a_minus: 0.1, w_min, w_max, rule }
}

#[test]
fn plastic_projections_have_tables_of_their_own_with_weights_as_drawn() {
    let rule = Rule::FixedInDegree(20);
    let weight = Distribution::truncated(5.0, 1.0, 2.0, 8.0);
    let mut network = network(Projection { weight, ..projection("A", "B", rule.clone()) });
    network.projections[0].plasticity = Some(stdp(0.0, 100.0));
    network.projections.push(projection("B", "B", rule));
    let built = build(&network);
    assert_eq!((built.tables.len(), built.plastic.len()), (1, 1));
    let table = &built.plastic[0];
    assert_eq!((table.first_target, table.target_span, table.exponent), (64, 40, built.exponents[1]));
    assert_eq!(table.stdp, stdp(0.0, 100.0));
    assert!(table.synapses() == 800 && table.weights.iter().all(|w| (2.0..=8.0).contains(w)));
    // All weights may grow to 100: twenty of them, and twenty of 1.
    let most = 2020.0 * f64::from(built.exponents[1]).exp2();
    assert!(most < 2f64.powi(31) && most > 2f64.powi(30));
    // The same draws as without plasticity.
    network.projections[0].plasticity = None;
    let fixed = build(&network);
    let unit = f64::from(fixed.exponents[1]).exp2();
    let mut weights: Vec<i32> = table.weights.iter().map(|&w| (f64::from(w) * unit).round() as i32).collect();
    let mut expected: Vec<i32> = synapses(&fixed).iter().filter(|s| s.0 < 64).map(|s| s.2).collect();
    weights.sort_unstable();
    expected.sort_unstable();
    // f32 has 24 bits.
    assert!(weights.iter().zip(&expected).all(|(a, b)| a.abs_diff(*b) <= (*b as u32 >> 23) + 1));
}

#[test]
fn planes_are_two_where_time_constants_differ_or_conductances_act() {
    let mut network = network(projection("A", "B", Rule::OneToOne));
    network.projections[0].rule = Rule::FixedInDegree(1);
    assert_eq!(build(&network).planes, 1);
    let two = |tau: Distribution| {
        Neuron::IafPscExp(IafPscExp { tau_syn_ex: tau.clone(), tau_syn_in: tau, ..IafPscExp::default() })
    };
    // Whether anything is connected to it or not.
    let before = network.populations[0].neuron.clone();
    network.populations[0].neuron = Neuron::IafPscExp(IafPscExp { tau_syn_in: 2.0.into(), ..IafPscExp::default() });
    assert_eq!(build(&network).planes, 2);
    network.populations[0].neuron = before;
    network.populations[1].neuron = two(2.0.into());
    assert_eq!(build(&network).planes, 1);
    network.populations[1].neuron = two(Distribution::uniform(1.0, 2.0));
    assert_eq!(build(&network).planes, 2);
    network.populations[1].neuron = Neuron::IafCondExp(IafCondExp::default());
    assert_eq!(build(&network).planes, 2);
}

#[test]
fn a_network_without_synapses_is_one() {
    let network = Network { populations: vec![population("A", 5)], ..Network::default() };
    let built = build(&network);
    assert!(built.tables.is_empty() && built.exponents == [40] && (built.planes, built.max_delay) == (1, 1));
}

/// The network of Potjans & Diesmann, Cereb. Cortex 24 (2014), with all its synapses from 1/`scale` of its neurons: the
/// number of synapses of each block, by target and source, is divided by `scale` squared.
fn microcircuit(scale: u32) -> Network {
    const SIZES: [(&str, u32); 8] = [
        ("L23E", 20_683),
        ("L23I", 5_834),
        ("L4E", 21_915),
        ("L4I", 5_479),
        ("L5E", 4_850),
        ("L5I", 1_065),
        ("L6E", 14_395),
        ("L6I", 2_948),
    ];
    #[rustfmt::skip]
    const BLOCKS: [[u64; 8]; 8] = [
        [45_499_805, 22_323_577, 20_253_647, 9_670_918, 3_293_578, 0, 2_271_404, 0],
        [17_443_694, 5_018_763, 4_105_338, 1_690_074, 2_221_213, 0, 353_461, 0],
        [3_503_670, 756_561, 24_482_849, 17_413_576, 714_524, 7_003, 14_624_432, 0],
        [8_114_254, 92_832, 9_933_538, 5_223_272, 87_836, 0, 8_810_905, 0],
        [10_613_575, 1_817_058, 5_507_804, 151_900, 2_040_738, 2_407_889, 1_438_969, 0],
        [1_241_436, 169_424, 607_667, 12_851, 319_602, 430_444, 132_414, 0],
        [4_681_225, 556_108, 6_727_570, 1_320_234, 4_112_225, 305_029, 8_372_649, 10_827_677],
        [2_260_836, 17_207, 220_033, 8_078, 401_638, 25_218, 2_888_426, 1_354_320],
    ];
    let mut network = Network { seed: 55, ..Network::default() };
    network.populations = SIZES.iter().map(|(name, size)| population(name, size / scale)).collect();
    for (target, blocks) in SIZES.iter().zip(BLOCKS) {
        for ((source, _), n) in SIZES.iter().zip(blocks) {
            let n = n / u64::from(scale).pow(2);
            if n == 0 {
                continue;
            }
            let inhibitory = source.ends_with('I');
            let strength = if (source, target.0) == (&"L4E", "L23E") { 2.0 } else { 1.0 };
            let mean = 87.8085 * if inhibitory { -4.0 } else { strength };
            let (low, high) = if inhibitory { (f64::NEG_INFINITY, 0.0) } else { (0.0, f64::INFINITY) };
            let delay = if inhibitory { 0.75 } else { 1.5 };
            network.projections.push(Projection {
                weight: Distribution::truncated(mean, 0.1 * mean.abs(), low, high),
                delay: Distribution::truncated(delay, 0.5 * delay, 0.05, f64::INFINITY),
                ..projection(source, target.0, Rule::FixedTotalNumber(n))
            });
        }
    }
    network
}

fn expected(network: &Network) -> Vec<u64> {
    let number = |p: &Projection| if let Rule::FixedTotalNumber(n) = p.rule { n } else { 0 };
    network.projections.iter().map(number).collect()
}

#[test]
fn a_tenth_of_the_microcircuit_is_the_same_with_any_number_of_threads() {
    let network = microcircuit(10);
    let of_threads = |n| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
        pool.install(|| build(&network))
    };
    let built = of_threads(1);
    assert_eq!(built.synapses_of, expected(&network));
    assert_eq!(built.tables.len(), 1);
    assert_eq!(built.tables[0].synapses() as u64, built.synapses());
    assert!(built == of_threads(2) && built == of_threads(3));
    // 7 bytes a synapse, 4 a row.
    assert!(built.tables[0].bytes() <= 7 * built.synapses() + 4 * (u64::from(built.layout.stride) + 3));
    let other = build(&Network { seed: 56, ..network });
    assert_eq!(other.synapses_of, built.synapses_of);
    assert_ne!(other.tables, built.tables);
}

#[test]
#[ignore = "takes 2.2 GB and a minute"]
fn the_whole_microcircuit() {
    let network = microcircuit(1);
    let started = std::time::Instant::now();
    let built = Connectivity::build(&network, &BuildOptions::default()).unwrap();
    let seconds = started.elapsed().as_secs_f64();
    let peak = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = peak.lines().find(|l| l.starts_with("VmHWM")).unwrap_or_default();
    let bytes: u64 = built.tables.iter().map(|t| t.bytes()).sum();
    eprintln!("built in {seconds:.1} s; tables {}; {peak}; exponents {:?}", crate::bytes(bytes), built.exponents);
    assert_eq!(built.synapses_of, expected(&network));
    assert_eq!((built.synapses(), built.synapses_of.len()), (298_880_968, 55));
    assert_eq!(built.tables.iter().map(|t| t.synapses() as u64).sum::<u64>(), 298_880_968);
    built.tables.iter().for_each(|t| t.check().unwrap());
    assert!(built.exponents.iter().all(|&e| e >= 11), "{:?}", built.exponents);
    assert!(seconds < 180.0, "{seconds} s");
}

#[test]
fn building_reports_and_can_be_cancelled() {
    let network = microcircuit(40);
    let reports = Mutex::new(Vec::new());
    let report = |done, total| reports.lock().unwrap().push((done, total));
    let options = BuildOptions { progress: Some(&report), ..BuildOptions::default() };
    let total = Connectivity::build(&network, &options).unwrap().synapses();
    let reports = reports.into_inner().unwrap();
    assert!(reports.len() > 2 && reports.iter().all(|r| r.1 == total));
    assert_eq!(reports.iter().map(|r| r.0).max(), Some(total));
    let cancel = CancelToken::new();
    let stop = |_, _| cancel.cancel();
    let options = BuildOptions { progress: Some(&stop), cancel: cancel.clone(), ..BuildOptions::default() };
    assert_eq!(Connectivity::build(&network, &options), Err(Error::Cancelled));
}

#[test]
fn a_rule_is_drawn_alike_whatever_else_there_is() {
    // Adding a projection behind must not change the ones before.
    let one = network(projection("A", "B", Rule::FixedTotalNumber(500)));
    let mut two = one.clone();
    two.projections.push(projection("B", "B", Rule::FixedProbability(0.1)));
    let before: Vec<_> = pairs(&one);
    let built = build(&two);
    let after: Vec<_> = synapses(&built).into_iter().filter(|s| s.0 < 64).map(|s| (s.0, s.1 - 64)).collect();
    assert_eq!(before, after);
}
