//! Strain and template files: the real ones, broken ones, and ones that this crate wrote.

#[path = "common/data.rs"]
mod data;

use data::data;
use proptest::prelude::*;
use spikewave::Error;
use spikewave::gw::strain::{Mask, Strain, TemplateFile};
use std::sync::LazyLock;

const H1_GW150914: &str = "H-H1_LOSC_4_V2-1126259446-32.hdf5";

fn close(a: f64, b: f64, relative: f64) -> bool {
    (a - b).abs() <= relative * b.abs()
}

/// A small pair of seconds with a gap and a cleared bit.
fn small() -> Strain {
    let mut values: Vec<f64> =
        (0..4 * 1024).map(|i| 1e-21 * (i as f64 * 0.37).sin() * (i as f64 * 0.011).cos()).collect();
    values[1500..1600].fill(f64::NAN);
    Strain {
        detector: "H1".into(),
        gps_start: 1_000_000_000.0,
        sample_rate_hz: 1024.0,
        values,
        quality: Mask {
            names: vec!["DATA".into(), "CLEAN".into()],
            descriptions: vec!["data present".into(), "no disturbance".into()],
            words: vec![3, 3, 1, 3],
            seconds_per_word: 1.0,
        },
        injections: Some(Mask {
            names: vec!["NO_CBC".into()],
            descriptions: vec!["no binary was injected".into()],
            words: vec![1, 1, 1, 0],
            seconds_per_word: 1.0,
        }),
    }
}

/// The bytes of a file that this crate writes.
fn written(strain: &Strain) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("strain.h5");
    strain.write(&path).unwrap();
    std::fs::read(path).unwrap()
}

fn same_bits(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

/// Whatever a reader says about a broken file, it must be about that file.
fn is_about_the_file(error: &Error) -> bool {
    matches!(error, Error::File { message, .. } if !message.is_empty())
}

#[test]
fn real_files_are_read_exactly() {
    let expected = [
        (H1_GW150914, "H1", 1126259446.0, 31),
        ("L-L1_LOSC_4_V2-1126259446-32.hdf5", "L1", 1126259446.0, 23),
        ("H-H1_LOSC_4_V1-1167559920-32.hdf5", "H1", 1167559920.0, 23),
        ("L-L1_LOSC_4_V1-1167559920-32.hdf5", "L1", 1167559920.0, 23),
    ];
    for (name, detector, gps_start, injections) in expected {
        let Some(path) = data(name) else { return };
        let strain = Strain::read(path).unwrap();
        assert_eq!(strain.detector, detector);
        assert_eq!(strain.gps_start, gps_start);
        assert_eq!(strain.sample_rate_hz, 4096.0);
        assert_eq!(strain.values.len(), 131_072);
        assert_eq!(strain.duration_s(), 32.0);
        assert_eq!(
            strain.quality.names,
            ["DATA", "CBC_CAT1", "CBC_CAT2", "CBC_CAT3", "BURST_CAT1", "BURST_CAT2", "BURST_CAT3"]
        );
        assert_eq!(strain.quality.words, [127; 32]);
        assert!(strain.quality.descriptions[1].to_lowercase().contains("cbc cat1"));
        assert!((0..7).all(|bit| strain.quality.fraction(bit) == 1.0));
        let masks = strain.injections.as_ref().unwrap();
        assert_eq!(
            masks.names,
            ["NO_CBC_HW_INJ", "NO_BURST_HW_INJ", "NO_DETCHAR_HW_INJ", "NO_CW_HW_INJ", "NO_STOCH_HW_INJ"]
        );
        assert_eq!(masks.words, vec![injections; 32]);
        assert!(strain.gaps().is_empty());
        let segments = strain.segments(None).unwrap();
        assert_eq!(segments.len(), 1);
        assert_eq!((segments[0].start, segments[0].end), (0, 131_072));
        assert_eq!((segments[0].gps_start, segments[0].gps_end), (gps_start, gps_start + 32.0));
    }
}

#[test]
fn golden_samples_of_the_first_event() {
    let Some(path) = data(H1_GW150914) else { return };
    let strain = Strain::read(path).unwrap();
    assert_eq!(strain.values[0], 2.177040281449375e-19);
    assert_eq!(strain.values[131_071], 7.5812119511653e-20);
    assert!(close(strain.values.iter().sum::<f64>(), 7.72738e-18, 1e-6));
}

#[test]
fn template_files_are_read() {
    let expected = [
        ("GW150914_4_template.hdf5", [41.743, 29.237], [0.355, -0.769], "GW150914", [5.54104769e-20, 1.00204446e-19]),
        ("GW170104_4_template.hdf5", [33.64, 24.82], [-0.236, 0.024], "GW170104", [-9.0143326e-20, -8.9311394e-21]),
    ];
    for (name, masses, spins, event, first) in expected {
        let Some(path) = data(name) else { return };
        let template = TemplateFile::read(path).unwrap();
        assert_eq!(template.sample_rate_hz, 4096.0);
        assert_eq!((template.plus.len(), template.cross.len()), (131_072, 131_072));
        assert_eq!(template.masses, masses);
        assert_eq!(template.spins, spins);
        assert_eq!(template.event.as_deref(), Some(event));
        assert_eq!(template.approximant.as_deref(), Some("lalsim.SEOBNRv2"));
        assert!(close(template.plus[0], first[0], 1e-7) && close(template.cross[0], first[1], 1e-7));
        let power = |i: &usize| template.plus[*i].hypot(template.cross[*i]);
        let merger = (0..131_072).max_by(|i, j| power(i).total_cmp(&power(j))).unwrap();
        assert!((merger as f64 / 4096.0 - 16.0).abs() < 0.02, "merger in the middle, not at sample {merger}");
    }
}

#[test]
fn a_gap_and_a_cleared_flag_cut_the_data() {
    // One second of NaN, and the quality word of that second cleared; no injection mask, two names.
    let Some(path) = data("syn.h5") else { return };
    let strain = Strain::read(path).unwrap();
    assert_eq!(strain.quality.names, ["DATA", "CBC_CAT1"]);
    assert_eq!(strain.injections, None);
    let gaps = strain.gaps();
    assert_eq!(gaps.len(), 1);
    let segments = strain.segments(Some("CBC_CAT1")).unwrap();
    assert_eq!(segments.len(), 2);
    assert!(segments.iter().all(|s| s.of(&strain.values).iter().all(|v| v.is_finite())));
    assert_eq!(segments[0].start, 0);
    assert_eq!(segments[1].end, strain.values.len());
    assert!(segments[0].end <= gaps[0].start && segments[1].start >= gaps[0].end);
    assert_eq!(strain.quality.fraction(0), 0.75);
}

#[test]
fn segments_follow_samples_and_flags() {
    let strain = small();
    let ranges =
        |flag| -> Vec<(usize, usize)> { strain.segments(flag).unwrap().iter().map(|s| (s.start, s.end)).collect() };
    assert_eq!(ranges(None), [(0, 1500), (1600, 4096)]);
    assert_eq!(ranges(Some("DATA")), [(0, 1500), (1600, 4096)]);
    assert_eq!(ranges(Some("CLEAN")), [(0, 1500), (1600, 2048), (3072, 4096)]);
    assert_eq!(ranges(Some("NO_CBC")), [(0, 1500), (1600, 3072)]);
    let gap = strain.gaps()[0];
    assert_eq!((gap.start, gap.end), (1500, 1600));
    assert_eq!(gap.gps_start, 1e9 + 1500.0 / 1024.0);
    let error = strain.segments(Some("CBC_CAT9")).unwrap_err().to_string();
    for word in ["CBC_CAT9", "DATA", "CLEAN", "NO_CBC"] {
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn infinite_samples_are_gaps_and_unnamed_masks_leave_samples_alone() {
    let mut strain = small();
    strain.values[10] = f64::INFINITY;
    strain.values[4095] = f64::NEG_INFINITY;
    strain.quality.names[0] = "OTHER".into();
    let ranges: Vec<_> = strain.segments(None).unwrap().iter().map(|s| (s.start, s.end)).collect();
    assert_eq!(ranges, [(0, 10), (11, 1500), (1600, 4095)]);
}

#[test]
fn a_wrong_checksum_names_the_dataset_and_the_chunk() {
    let Some(path) = data("badsum.h5") else { return };
    let error = Strain::read(&path).unwrap_err();
    let text = error.to_string();
    assert!(is_about_the_file(&error));
    for word in ["badsum.h5", "strain/Strain", "chunk 3 ", "fletcher32"] {
        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn a_header_that_claims_terabytes_is_refused_without_allocating_them() {
    let Some(path) = data("syn.h5") else { return };
    let bytes = std::fs::read(path).unwrap();
    let mut claims = 0;
    for (stored, width) in [(16_384u64, 8), (2048, 4)] {
        let pattern = &stored.to_le_bytes()[..width];
        let places: Vec<usize> = (0..bytes.len() - width).filter(|&i| &bytes[i..i + width] == pattern).collect();
        for at in places {
            for claim in [1u64 << 31, 1 << 40, 1 << 60, u64::MAX] {
                let mut broken = bytes.clone();
                broken[at..at + width].copy_from_slice(&claim.to_le_bytes()[..width]);
                claims += usize::from(Strain::from_bytes("huge.h5", broken).is_err_and(|e| is_about_the_file(&e)));
            }
        }
    }
    assert!(claims >= 8, "the shape and the chunk shape were not found in the file");
}

#[test]
fn what_is_written_is_read_back() {
    let strain = small();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("strain.h5");
    strain.write(&path).unwrap();
    let read = Strain::read(&path).unwrap();
    assert!(same_bits(&read.values, &strain.values));
    let without = |s: &Strain| Strain { values: vec![], ..s.clone() };
    assert_eq!(without(&read), without(&strain));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);

    let flat = Strain { values: vec![1e-21; 4096], ..small() };
    assert!(written(&flat).len() + 4096 * 4 < written(&strain).len(), "samples that repeat are compressed");
}

#[test]
fn what_cannot_be_written_is_refused_and_nothing_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("strain.h5");
    let half = Strain { gps_start: 0.5, ..small() };
    assert!(matches!(half.write(&path), Err(Error::InvalidArgument { .. })));
    let nameless = Strain { detector: "Hanford".into(), ..small() };
    assert!(matches!(nameless.write(&path), Err(Error::InvalidArgument { .. })));
    let mut short = small();
    short.quality.words.pop();
    assert!(matches!(short.write(&path), Err(Error::InvalidArgument { .. })));
    assert!(matches!(small().write(folder.path().join("absent/strain.h5")), Err(Error::File { .. })));
    assert!(matches!(small().write(folder.path()), Err(Error::File { .. })));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn files_that_are_not_strain_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    assert!(is_about_the_file(&Strain::read(&path).unwrap_err()));
    assert!(is_about_the_file(&Strain::read(folder.path()).unwrap_err()));
    for bytes in [&b""[..], b"not HDF5", b"\x89HDF\r\n\x1a\n", &[0u8; 4096]] {
        std::fs::write(&path, bytes).unwrap();
        assert!(is_about_the_file(&Strain::read(&path).unwrap_err()));
        assert!(is_about_the_file(&TemplateFile::read(&path).unwrap_err()));
    }
    // Each kind is refused by the other's reader.
    small().write(&path).unwrap();
    assert!(TemplateFile::read(&path).unwrap_err().to_string().contains("not a template file"));
    if let Some(template) = data("GW150914_4_template.hdf5") {
        assert!(Strain::read(template).unwrap_err().to_string().contains("not a strain file"));
    }
}

#[test]
fn nothing_but_nan_is_an_error() {
    let strain = Strain { values: vec![f64::NAN; 4096], ..small() };
    let error = Strain::from_bytes("nan.h5", written(&strain)).unwrap_err();
    assert!(error.to_string().contains("no finite sample"), "{error}");
}

/// A strain file with `samples` written by hand, so that it can be wrong in one place.
fn by_hand(change: impl FnOnce(&mut hdf5_pure::DatasetBuilder)) -> Vec<u8> {
    use hdf5_pure::{AttrValue, FileBuilder};
    let mut file = FileBuilder::new();
    let mut meta = file.create_group("meta");
    meta.create_dataset("Detector").with_vlen_strings(&["H1"]).with_shape(&[]);
    meta.create_dataset("GPSstart").with_i64_data(&[10]).with_shape(&[]);
    file.add_group(meta.finish());
    let mut quality = file.create_group("quality");
    let mut simple = quality.create_group("simple");
    simple.create_dataset("DQmask").with_u32_data(&[1, 1]);
    simple.create_dataset("DQShortnames").with_ascii_strings(&["DATA"]).unwrap();
    quality.add_group(simple.finish());
    file.add_group(quality.finish());
    let mut strain = file.create_group("strain");
    let dataset = strain.create_dataset("Strain");
    dataset.with_f64_data(&[1e-21; 32]).set_attr("Xspacing", AttrValue::F64(0.0625));
    change(dataset);
    file.add_group(strain.finish());
    file.finish().unwrap()
}

#[test]
fn contradictions_are_errors() {
    use hdf5_pure::AttrValue;
    let read = |bytes| Strain::from_bytes("hand.h5", bytes);
    assert_eq!(read(by_hand(|_| ())).unwrap().sample_rate_hz, 16.0);
    let fails = |bytes, word: &str| {
        let error = read(bytes).unwrap_err();
        assert!(is_about_the_file(&error) && error.to_string().contains(word), "{error}");
    };
    fails(by_hand(|d| _ = d.set_attr("Npoints", AttrValue::I64(31))), "Npoints");
    fails(by_hand(|d| _ = d.set_attr("Xstart", AttrValue::I64(11))), "Xstart");
    fails(by_hand(|d| _ = d.set_attr("Xspacing", AttrValue::F64(0.125))), "DQmask");
    fails(by_hand(|d| _ = d.set_attr("Xspacing", AttrValue::F64(f64::NAN))), "spacing");
    fails(by_hand(|d| _ = d.set_attr("Xspacing", AttrValue::F64(0.0))), "spacing");
    fails(by_hand(|d| _ = d.with_f64_data(&[]).with_shape(&[0])), "no samples");
    fails(by_hand(|d| _ = d.with_shape(&[4, 8])), "one row");
    fails(by_hand(|d| _ = d.with_f32_data(&[1.0; 32])), "expected");
    fails(by_hand(|d| _ = d.with_f64_data(&[f64::NAN; 32])), "no finite sample");
}

#[test]
fn truncation_at_any_byte_is_an_error() {
    let whole = written(&small());
    for length in 0..whole.len() {
        let error = Strain::from_bytes("cut.h5", whole[..length].to_vec()).unwrap_err();
        assert!(is_about_the_file(&error), "{length}: {error}");
    }
    let Some(path) = data(H1_GW150914) else { return };
    let whole = std::fs::read(path).unwrap();
    for length in (0..whole.len()).step_by(4801).chain(whole.len() - 64..whole.len()) {
        let error = Strain::from_bytes("cut.h5", whole[..length].to_vec()).unwrap_err();
        assert!(is_about_the_file(&error), "{length}: {error}");
    }
    let Some(path) = data("GW150914_4_template.hdf5") else { return };
    let whole = std::fs::read(path).unwrap();
    for length in (0..whole.len()).step_by(4801).chain(whole.len() - 64..whole.len()) {
        let error = TemplateFile::from_bytes("cut.h5", whole[..length].to_vec()).unwrap_err();
        assert!(is_about_the_file(&error), "{length}: {error}");
    }
}

/// A broken file gives a clear error, or exactly the samples of the sound one.
fn broken_bytes_never_alter_samples(bytes: Vec<u8>, sound: &Strain) {
    match Strain::from_bytes("broken.h5", bytes) {
        Ok(read) => {
            assert!(same_bits(&read.values, &sound.values), "a damaged file gave other samples");
            assert_eq!(read.gps_start, sound.gps_start);
            assert_eq!(read.sample_rate_hz, sound.sample_rate_hz);
        }
        Err(error) => assert!(is_about_the_file(&error), "{error}"),
    }
}

#[test]
fn flipped_bits_all_over_a_written_file() {
    let sound = Strain { values: small().values[1600..1664].to_vec(), sample_rate_hz: 16.0, ..small() };
    let bytes = written(&sound);
    for i in 0..bytes.len() {
        // Two bits of every byte that says something, and one in eight of the padding.
        if bytes[i] != 0 || i % 8 == 0 {
            for bit in [i % 8, (i + 3) % 8] {
                let mut broken = bytes.clone();
                broken[i] ^= 1 << bit;
                broken_bytes_never_alter_samples(broken, &sound);
            }
        }
    }
}

#[test]
fn flipped_bits_of_a_real_file() {
    // The samples' bytes are under checksums; the rest, which has none, is where damage could pass unnoticed.
    let Some(path) = data("syn.h5") else { return };
    let bytes = std::fs::read(path).unwrap();
    let sound = Strain::from_bytes("syn.h5", bytes.clone()).unwrap();
    let mut state = 1u64;
    for round in 0..2000 {
        // A linear congruential walk: reproducible, and every byte of the first 8 KiB gets its turn.
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let at = if round % 4 == 0 { (state >> 33) as usize % bytes.len() } else { (state >> 33) as usize % 8192 };
        let mut broken = bytes.clone();
        broken[at] ^= 1 << (state >> 20 & 7);
        broken_bytes_never_alter_samples(broken, &sound);
    }
}

#[test]
fn a_chunk_that_claims_to_have_skipped_a_filter_is_refused() {
    // A chunk's key: its size, a mask of skipped filters (0), its offset (two 64-bit words), and then its address; the
    // eight keys stand in a row.
    let Some(path) = data("syn.h5") else { return };
    let bytes = std::fs::read(path).unwrap();
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let is_key = |at: usize, chunk: u32| {
        (1..20_000).contains(&word(at)) && (1..6).all(|i| word(at + 4 * i) == if i == 2 { chunk * 2048 } else { 0 })
    };
    let first = (0..bytes.len() - 256).find(|&at| (0..8).all(|chunk| is_key(at + 32 * chunk as usize, chunk))).unwrap();
    for chunk in 0..8 {
        for mask in [1, 4, 5] {
            let mut broken = bytes.clone();
            broken[first + 32 * chunk + 4] = mask;
            let text = Strain::from_bytes("mask.h5", broken).map(|_| ()).unwrap_err().to_string();
            assert!(text.contains("strain/Strain") && text.contains("left out"), "{text}");
        }
    }
}

#[test]
fn an_index_that_points_to_itself_is_refused() {
    let Some(path) = data("syn.h5") else { return };
    let bytes = std::fs::read(path).unwrap();
    let trees: Vec<usize> = (0..bytes.len() - 4).filter(|&i| &bytes[i..i + 4] == b"TREE").collect();
    assert!(trees.len() >= 4, "groups and chunks are indexed by trees in this file");
    for at in trees {
        // A node: signature, kind (0 group, 1 chunks), level, entries, two siblings; then keys and children in turn.
        let (key, children) = (if bytes[at + 4] == 1 { 24 } else { 8 }, usize::from(bytes[at + 6]));
        for level in [1, 64, 255] {
            let mut broken = bytes.clone();
            broken[at + 5] = level;
            for child in 0..children {
                let place = at + 24 + key + (key + 8) * child;
                broken[place..place + 8].copy_from_slice(&(at as u64).to_le_bytes());
            }
            assert!(Strain::from_bytes("cycle.h5", broken).is_err_and(|e| is_about_the_file(&e)), "tree at {at}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn overwritten_runs(at in 0.0f64..1.0, run in prop::collection::vec(any::<u8>(), 1..64)) {
        static WRITTEN: LazyLock<Vec<u8>> = LazyLock::new(|| written(&small()));
        let (sound, mut bytes) = (small(), WRITTEN.clone());
        let at = (at * bytes.len() as f64) as usize;
        for (byte, value) in bytes[at..].iter_mut().zip(run) {
            *byte = value;
        }
        broken_bytes_never_alter_samples(bytes, &sound);
    }

    #[test]
    fn arbitrary_bytes_after_the_signature(tail in prop::collection::vec(any::<u8>(), 0..512)) {
        let mut bytes = b"\x89HDF\r\n\x1a\n".to_vec();
        bytes.extend(tail);
        prop_assert!(Strain::from_bytes("noise.h5", bytes.clone()).is_err());
        prop_assert!(TemplateFile::from_bytes("noise.h5", bytes).is_err());
    }
}
