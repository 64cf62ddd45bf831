//! NPZ files: those of NumPy, those of other writers, and those that no writer should have made.

#[path = "common/data.rs"]
mod data;

use std::io::{Cursor, Write};
use std::path::Path;

use ndarray::{Array2, array};
use npyz::WriterBuilder;
use spikewave::io::npy::{self, Dtype};
use spikewave::io::npz::{self, Npz};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// An archive of these members.
fn archive(members: &[(&str, &[u8])], options: SimpleFileOptions) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn stored() -> SimpleFileOptions {
    SimpleFileOptions::default().compression_method(CompressionMethod::Stored)
}

fn deflated() -> SimpleFileOptions {
    SimpleFileOptions::default().compression_method(CompressionMethod::Deflated)
}

/// An NPY file as an independent writer makes it.
fn member<T: npyz::AutoSerialize>(shape: &[u64], order: npyz::Order, values: impl IntoIterator<Item = T>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let options = npyz::WriteOptions::new().default_dtype().shape(shape).order(order).writer(&mut bytes);
    let mut writer = options.begin_nd().unwrap();
    writer.extend(values).unwrap();
    writer.finish().unwrap();
    bytes
}

/// A member with this header text.
fn with_header(text: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.extend(data);
    bytes
}

fn open(bytes: Vec<u8>) -> spikewave::Result<Npz> {
    Npz::from_bytes("a.npz", bytes)
}

fn says<T: std::fmt::Debug>(result: spikewave::Result<T>, words: &[&str]) {
    let error = result.unwrap_err().to_string();
    for word in words {
        assert!(error.contains(word), "no \"{word}\" in: {error}");
    }
    assert!(!error.contains('\n'), "{error}");
}

#[test]
fn arrays_are_read_however_they_are_packed() {
    let c = npyz::Order::C;
    let table: Vec<f64> = (0..6).map(f64::from).collect();
    let members: Vec<(&str, Vec<u8>)> = vec![
        ("table.npy", member(&[2, 3], c, table.clone())),
        ("turned.npy", member(&[2, 3], npyz::Order::Fortran, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0])),
        ("one.npy", member(&[], c, [6.5f64])),
        ("single.npy", member(&[3], c, [1.5f32, -0.0, f32::NAN])),
        ("yes.npy", member(&[3], c, [true, false, true])),
        ("count.npy", member(&[2], c, [-3i32, 7])),
        ("none.npy", member::<f32>(&[0, 4], c, [])),
        ("big.npy", with_header("{'descr':'>f8','fortran_order':False,'shape':(1,)}", &2.5f64.to_be_bytes())),
        ("read me.txt", b"not an array".to_vec()),
    ];
    let members: Vec<(&str, &[u8])> = members.iter().map(|(n, b)| (*n, b.as_slice())).collect();
    for options in [stored(), deflated(), deflated().large_file(true), stored().large_file(true)] {
        let mut npz = open(archive(&members, options)).unwrap();
        let names: Vec<&str> = npz.names().collect();
        assert_eq!(names, ["table", "turned", "one", "single", "yes", "count", "none", "big"]);
        let list = npz.list().unwrap();
        assert_eq!((&list[0].shape[..], list[0].dtype), (&[2usize, 3][..], Dtype::F64));
        assert_eq!((&list[6].shape[..], list[6].dtype.to_string()), (&[0usize, 4][..], "float32".into()));
        for name in ["table", "turned"] {
            let array = npz.matrix::<f64>(name).unwrap();
            assert_eq!(array, array![[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]);
            assert!(array.is_standard_layout());
            assert_eq!(npz.matrix::<f32>(name).unwrap(), array![[0.0f32, 1.0, 2.0], [3.0, 4.0, 5.0]]);
        }
        assert_eq!(npz.scalar::<f64>("one").unwrap(), 6.5);
        let single = npz.vector::<f64>("single").unwrap();
        assert!(single[0] == 1.5 && single[1].to_bits() == (-0.0f64).to_bits() && single[2].is_nan());
        assert_eq!(npz.matrix::<f64>("single").unwrap().dim(), (3, 1));
        assert_eq!(npz.vector::<bool>("yes").unwrap(), [true, false, true]);
        assert_eq!(npz.vector::<i64>("count").unwrap(), [-3, 7]);
        assert_eq!(npz.vector::<f64>("count").unwrap(), [-3.0, 7.0]);
        assert_eq!(npz.matrix::<f32>("none").unwrap().dim(), (0, 4));
        assert_eq!(npz.scalar::<f64>("big").unwrap(), 2.5);
    }
}

#[test]
fn what_is_asked_and_not_there_is_named() {
    let c = npyz::Order::C;
    let members = [
        ("time.npy", member(&[3], c, [0.0f64, 1.0, 2.0])),
        ("huge.npy", member(&[2], c, [1.0f64, 1e300])),
        ("yes.npy", member(&[2], c, [true, false])),
        ("two.npy", member(&[2], c, [1i64, 2])),
        ("long.npy", member(&[1], c, [(1i64 << 53) + 1])),
        ("cube.npy", member(&[1, 1, 1], c, [1.0f64])),
        ("text.npy", with_header("{'descr':'<U1','fortran_order':False,'shape':(1,)}", b"a\0\0\0")),
        ("bool.npy", with_header("{'descr':'|b1','fortran_order':False,'shape':(1,)}", b"\x02")),
    ];
    let members: Vec<(&str, &[u8])> = members.iter().map(|(n, b)| (*n, b.as_slice())).collect();
    let mut npz = open(archive(&members, deflated())).unwrap();
    says(npz.vector::<f64>("position"), &["a.npz", "no array \"position\"", "time", "cube"]);
    says(npz.vector::<f32>("huge"), &["\"huge\"", "float64", "element 1", "no float32"]);
    says(npz.vector::<f64>("yes"), &["\"yes\"", "is bool", "no float64"]);
    says(npz.vector::<bool>("two"), &["\"two\"", "int64", "element 1 is 2", "no bool"]);
    says(npz.vector::<f64>("long"), &["\"long\"", "9007199254740993"]);
    says(npz.vector::<i64>("time"), &["\"time\"", "no int64"]);
    says(npz.matrix::<f64>("cube"), &["\"cube\"", "[1, 1, 1]", "rows and columns"]);
    says(npz.vector::<f64>("cube"), &["one dimension"]);
    says(npz.scalar::<f64>("time"), &["[3]", "one number"]);
    says(npz.vector::<f64>("text"), &["\"text\"", "<U1"]);
    says(npz.vector::<bool>("bool"), &["\"bool\"", "[2]"]);
}

#[test]
fn headers_that_claim_more_than_there_is_are_refused_before_memory_is_taken() {
    let claim =
        |shape: &str| with_header(&format!("{{'descr':'<f8','fortran_order':False,'shape':{shape}}}"), &[0; 16]);
    for shape in ["(1000000000000,)", "(3,)", "(1,)", "(99999999999999999999,)", "(4294967296, 4294967296, 16)"] {
        for options in [stored(), deflated()] {
            let mut npz = open(archive(&[("a.npy", &claim(shape))], options)).unwrap();
            let error = npz.vector::<f64>("a").unwrap_err().to_string();
            assert!(error.contains("array \"a\""), "{error}");
        }
    }
    // An archive that lies about the size of its member as well.
    let bytes = archive(&[("a.npy", &claim("(2000000000,)"))], stored());
    let at = bytes.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    let mut lie = bytes.clone();
    let length = 16_000_000_000u64 as u32;
    lie[at + 24..at + 28].copy_from_slice(&length.to_le_bytes());
    says(open(lie).unwrap().vector::<f64>("a"), &["array \"a\""]);
}

#[test]
fn damaged_files_are_errors_and_nothing_worse() {
    let values: Vec<f64> = (0..500).map(|i| f64::from(i).sin()).collect();
    let table = member(&[500], npyz::Order::C, values);
    says(open(Vec::new()), &["a.npz", "is empty"]);
    says(open(b"no archive at all".to_vec()), &["not an NPZ file"]);
    says(open(table.clone()), &["is an NPY file"]);
    says(Npz::open("/nowhere/a.npz"), &["/nowhere/a.npz", "cannot be read"]);
    says(Npz::open(std::env::temp_dir()), &["not a regular file"]);
    for options in [stored(), deflated()] {
        let whole = archive(&[("a.npy", &table), ("b.npy", &table)], options);
        let mut npz = open(whole.clone()).unwrap();
        let clean = npz.vector::<f64>("a").unwrap();
        for length in (0..whole.len()).step_by(97).chain([whole.len() - 1]) {
            let error = open(whole[..length].to_vec()).unwrap_err().to_string();
            assert!(error.contains("empty") || error.contains("not an NPZ") || error.contains("truncated"), "{error}");
        }
        // One bit changed: the same numbers, or an error.
        let mut noticed = 0;
        for at in (0..whole.len()).step_by(7) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            let Ok(mut npz) = open(bytes) else { continue };
            _ = npz.list();
            for name in ["a", "b"] {
                match npz.vector::<f64>(name) {
                    Ok(read) => assert_eq!(read, clean, "bit of byte {at}"),
                    Err(_) => noticed += 1,
                }
            }
        }
        assert!(noticed > whole.len() / 14, "{noticed}");
        // In the middle of the first array.
        let mut bytes = whole;
        bytes[400] ^= 4;
        says(open(bytes).unwrap().vector::<f64>("a"), &["array \"a\"", "damaged"]);
    }
}

#[test]
fn what_is_written_is_read_by_us_and_by_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npz");
    let turned = array![[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0]].reversed_axes();
    let fill = |w: &mut npz::Writer<'_>| {
        w.array("time", &[2], &[0.5f64, 1.5])?;
        w.array("std", &[], &[6.0f64])?;
        w.array("inside", &[3], &[true, false, true])?;
        w.ndarray("turned", &turned)?;
        w.ndarray("none", &Array2::<f32>::zeros((0, 4)))
    };
    npz::write(&path, fill).unwrap();
    let mut npz = Npz::open(&path).unwrap();
    assert_eq!(npz.vector::<f64>("time").unwrap(), [0.5, 1.5]);
    assert_eq!(npz.scalar::<f64>("std").unwrap(), 6.0);
    assert_eq!(npz.vector::<bool>("inside").unwrap(), [true, false, true]);
    assert_eq!(npz.matrix::<f32>("turned").unwrap(), turned);
    assert_eq!(npz.matrix::<f32>("none").unwrap().dim(), (0, 4));
    let mut zip = zip::ZipArchive::new(std::fs::File::open(&path).unwrap()).unwrap();
    let theirs = npyz::NpyFile::new(zip.by_name("turned.npy").unwrap()).unwrap();
    assert_eq!(theirs.shape(), [3, 2]);
    assert_eq!(theirs.into_vec::<f32>().unwrap(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    let bytes = std::fs::read(&path).unwrap();
    npz::write(&path, fill).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes);

    // Refused by the one who fills it: that error, and the old file stays.
    let refused = npz::write(&path, |w| w.array("time", &[3], &[0.5f64]));
    says(refused, &["time", "does not hold"]);
    let twice = npz::write(&path, |w| fill(w).and_then(|()| w.array("time", &[1], &[0.5f64])));
    says(twice, &["time"]);
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    says(npz::write(folder.path().join("absent/a.npz"), fill), &["absent/a.npz", "choose a folder"]);
}

#[test]
fn files_of_numpy_are_read() {
    let Some(path) = data::kde("track_1d_ragged.npz") else { return };
    let mut npz = Npz::open(&path).unwrap();
    let list = npz.list().unwrap();
    let entry = |name: &str| list.iter().find(|e| e.name == name).unwrap();
    assert_eq!((entry("position").shape.clone(), entry("position").dtype), (vec![30000, 1], Dtype::F64));
    assert_eq!(entry("is_track_interior").dtype, Dtype::Bool);
    assert_eq!(entry("encoding_marks_3").shape, [0, 2]);
    assert_eq!(npz.scalar::<f64>("waveform_std").unwrap(), 24.0);
    assert_eq!(npz.matrix::<f32>("encoding_marks_1").unwrap().dim(), (473, 4));
    let time = npz.vector::<f64>("time").unwrap();
    assert!(time.windows(2).all(|w| w[1] > w[0]) && time.len() == 2000);
}

#[test]
fn an_array_on_its_own_is_no_archive_but_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    npy::write(&path, &[1], &[1.0f64]).unwrap();
    says(Npz::open(Path::new(&path)), &["is an NPY file", "NPZ file was expected"]);
}
