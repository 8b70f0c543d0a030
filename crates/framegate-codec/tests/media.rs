//! Files of many kinds are written and read back; damaged ones end in an error or fewer pictures, never worse.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use framegate_codec::ivf::{self, IvfHeader, IvfUnit};
use framegate_codec::{
    Decoder, EncodeFormat, Encoder, EncoderSettings, I420Image, Keyframe, Matrix, Media, MediaError, MediaStep,
    Numbering, Picture, Range, Scene, SceneKind, VideoError, VideoFile, VideoFormat, number_bar, y4m,
};
use framegate_wire::limits::AREA_MAX;
use framegate_wire::{Codec, PictureSize};

const SMALL: PictureSize = PictureSize { width: 320, height: 240 };

fn scene(size: PictureSize) -> Scene {
    Scene::new(SceneKind::Bars, size, 1, Numbering::Drawn).unwrap()
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()))
}

/// A file without a name, holding `bytes`.
fn file(bytes: &[u8]) -> File {
    let path = path(&format!("{:p}", bytes.as_ptr()));
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    file.write_all(bytes).unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    file
}

/// Numbers and times of a file's pictures.
fn read(media: &mut Media) -> Vec<(Option<u16>, u64)> {
    let mut read = Vec::new();
    while let Some(step) = media.next_step().unwrap() {
        match step {
            MediaStep::Picture { picture, time } => {
                read.push((number_bar::read(&picture.planes[0], picture.size), time));
            }
            MediaStep::Corrupt { .. } => panic!("a good file has no corrupt unit"),
        }
    }
    read
}

fn expected(count: u16, interval: u64) -> Vec<(Option<u16>, u64)> {
    (0..count).map(|number| (Some(number), u64::from(number) * interval)).collect()
}

fn encoded(format: EncodeFormat, size: PictureSize, count: u32) -> Vec<Vec<u8>> {
    let settings = EncoderSettings { format, size, range: Range::Limited, rate_hz: 30, kbit: 1000, key_interval: 30 };
    let (mut encoder, mut scene) = (Encoder::new(&settings).unwrap(), scene(size));
    (0..count).map(|n| encoder.encode(&scene.draw(n), Keyframe::WhenDue).unwrap().unwrap().data.to_vec()).collect()
}

fn ivf_of(units: &[Vec<u8>], size: PictureSize) -> Vec<u8> {
    let header = IvfHeader { size, rate_hz: 30, unit_count: u32::try_from(units.len()).unwrap() };
    let mut bytes = header.to_bytes().to_vec();
    for (pts, data) in units.iter().enumerate() {
        ivf::write_unit(&mut bytes, &IvfUnit { pts: pts as u64, data }).unwrap();
    }
    bytes
}

/// Writes pictures `0..count` of a scene as a video, 30 a second, and opens the file for reading.
fn video(format: VideoFormat, size: PictureSize, count: u32) -> Result<File, VideoError> {
    let file = file(&[]);
    let mut scene = scene(size);
    let mut video = VideoFile::create(file.try_clone().unwrap(), format, &scene.draw(0), 30)?;
    for number in 0..count {
        video.push(&scene.draw(number), u64::from(number) * 3000)?;
    }
    video.finish()?;
    (&file).seek(SeekFrom::Start(0)).unwrap();
    Ok(file)
}

fn planes(picture: &Picture<'_>) -> Vec<Vec<u8>> {
    let mut planes = Vec::new();
    for (index, plane) in picture.planes.iter().enumerate() {
        let halved = u32::from(index > 0);
        let (width, height) = ((picture.size.width + halved) >> halved, (picture.size.height + halved) >> halved);
        let rows = (0..height as usize).flat_map(|y| plane.data[y * plane.stride..][..width as usize].to_vec());
        planes.push(rows.collect());
    }
    planes
}

#[test]
fn ivf_gives_exactly_what_the_live_decoder_gives() {
    let units = encoded(EncodeFormat::Vp8, SMALL, 40);
    let mut media = Media::open(file(&ivf_of(&units, SMALL)), AREA_MAX).unwrap();
    assert_eq!(media.info().codec, "vp8");
    assert_eq!(media.info().rate_millihertz, Some(30_000));
    let mut decoder = Decoder::new(Codec::Vp8).unwrap();
    for (number, unit) in units.iter().enumerate() {
        let live = decoder.decode(unit, AREA_MAX).unwrap().unwrap();
        let Some(MediaStep::Picture { picture, time }) = media.next_step().unwrap() else { panic!("a picture") };
        assert_eq!((picture.size, picture.matrix, picture.range), (live.size, live.matrix, live.range));
        assert_eq!(time, number as u64 * 3000);
        assert_eq!(planes(&picture), planes(&live));
    }
    assert!(media.next_step().unwrap().is_none());
}

#[test]
fn what_is_written_can_be_read() {
    for format in [VideoFormat::Mp4, VideoFormat::WebM] {
        let mut media = Media::open(video(format, SMALL, 45).unwrap(), AREA_MAX).unwrap();
        assert_eq!(media.info().frames, Some(45), "{format:?}");
        assert_eq!(media.info().rate_millihertz.unwrap() / 100, 300);
        let read = read(&mut media);
        assert_eq!(read.iter().map(|(number, _)| *number).collect::<Vec<_>>(), (0..45).map(Some).collect::<Vec<_>>());
        // WebM counts milliseconds.
        assert!(read.iter().zip(expected(45, 3000)).all(|(read, said)| read.1.abs_diff(said.1) <= 90), "{format:?}");
    }
}

#[test]
fn odd_sizes_and_full_range_can_be_written() {
    for format in [VideoFormat::Mp4, VideoFormat::WebM] {
        for size in [PictureSize { width: 321, height: 241 }, PictureSize { width: 2, height: 3 }] {
            let file = video(format, size, 3).unwrap();
            let mut media = Media::open(file, AREA_MAX).unwrap();
            let Some(MediaStep::Picture { picture, .. }) = media.next_step().unwrap() else { panic!("a picture") };
            assert_eq!(picture.size, PictureSize { width: size.width & !1, height: size.height & !1 });
        }
    }
    let size = PictureSize { width: 1, height: 1 };
    assert_eq!(video(VideoFormat::Mp4, size, 1).unwrap_err(), VideoError::Size(1, 1));
    let mut white = I420Image::new(SMALL).unwrap();
    for (plane, value) in [(0, 255), (1, 128), (2, 128)] {
        white.rows_mut(plane).for_each(|row| row.fill(value));
    }
    for (format, range, luma) in [(VideoFormat::Mp4, Range::Full, 255), (VideoFormat::WebM, Range::Limited, 235)] {
        let picture = Picture { range: Range::Full, matrix: Matrix::Bt709, ..white.picture() };
        let file = file(&[]);
        let mut video = VideoFile::create(file.try_clone().unwrap(), format, &picture, 30).unwrap();
        video.push(&picture, 0).unwrap();
        video.finish().unwrap();
        (&file).seek(SeekFrom::Start(0)).unwrap();
        let mut media = Media::open(file, AREA_MAX).unwrap();
        let Some(MediaStep::Picture { picture, .. }) = media.next_step().unwrap() else { panic!("a picture") };
        assert_eq!(picture.range, range, "{format:?}");
        assert!(picture.planes[0].data[0].abs_diff(luma) <= 2, "{format:?}: {}", picture.planes[0].data[0]);
    }
}

#[test]
fn a_picture_of_another_size_is_brought_to_the_first_ones() {
    let file = file(&[]);
    let larger = PictureSize { width: 640, height: 480 };
    let (mut first, mut second) = (scene(SMALL), scene(larger));
    let mut video = VideoFile::create(file.try_clone().unwrap(), VideoFormat::Mp4, &first.draw(0), 30).unwrap();
    video.push(&first.draw(0), 0).unwrap();
    video.push(&second.draw(1), 3000).unwrap();
    video.push(&first.draw(2), 6000).unwrap();
    video.finish().unwrap();
    (&file).seek(SeekFrom::Start(0)).unwrap();
    assert_eq!(read(&mut Media::open(file, AREA_MAX).unwrap()), expected(3, 3000));
}

#[test]
fn y4m_mjpeg_and_single_images_are_read() {
    let mut bytes = y4m::header(SMALL, 25).into_bytes();
    let mut scene = scene(SMALL);
    (0..10).for_each(|number| y4m::write_picture(&mut bytes, &scene.draw(number)));
    assert_eq!(read(&mut Media::open(file(&bytes), AREA_MAX).unwrap()), expected(10, 3600));
    let jpegs = encoded(EncodeFormat::Mjpeg, SMALL, 10);
    let numbers = read(&mut Media::open(file(&jpegs.concat()), AREA_MAX).unwrap());
    assert_eq!(numbers.iter().map(|(number, _)| *number).collect::<Vec<_>>(), (0..10).map(Some).collect::<Vec<_>>());
    let mut image = Media::open(file(&jpegs[7]), AREA_MAX).unwrap();
    assert_eq!(image.info().codec, "mjpeg");
    assert_eq!(read(&mut image), [(Some(7), 0)]);
}

/// A binary PPM: packed RGB of one colour.
fn ppm(width: usize, height: usize, colour: [u8; 3]) -> Vec<u8> {
    let mut bytes = format!("P6\n{width} {height}\n255\n").into_bytes();
    bytes.extend(colour.repeat(width * height));
    bytes
}

#[test]
fn other_pixel_formats_become_i420_of_the_same_colour() {
    // Full-range BT.601 of pure colours, by hand.
    for (colour, [y, u, v]) in
        [([255, 0, 0], [76, 85, 255]), ([0, 255, 0], [150, 44, 21]), ([255, 255, 255], [255, 128, 128])]
    {
        let mut media = Media::open(file(&ppm(33, 17, colour)), AREA_MAX).unwrap();
        let Some(MediaStep::Picture { picture, .. }) = media.next_step().unwrap() else { panic!("a picture") };
        assert_eq!((picture.size.width, picture.size.height, picture.range), (33, 17, Range::Full));
        for (plane, expected) in picture.planes.iter().zip([y, u, v]) {
            assert!(plane.data[0].abs_diff(expected) <= 2, "{colour:?}: {} for {expected}", plane.data[0]);
        }
    }
    let mut gray = b"P5\n6 4\n255\n".to_vec();
    gray.extend([200; 24]);
    let mut media = Media::open(file(&gray), AREA_MAX).unwrap();
    let Some(MediaStep::Picture { picture, .. }) = media.next_step().unwrap() else { panic!("a picture") };
    assert_eq!((picture.range, picture.planes[0].data[0], picture.planes[1].data[0]), (Range::Full, 200, 128));
    // 4:2:2 with 10 bits, limited range: the luma code 502 of 10 bits is 125.5 of 8.
    let mut deep = b"YUV4MPEG2 W4 H2 F30:1 Ip C422p10 XYSCSS=422P10\nFRAME\n".to_vec();
    (0..8).for_each(|_| deep.extend(502_u16.to_le_bytes()));
    (0..8).for_each(|_| deep.extend(512_u16.to_le_bytes()));
    let mut media = Media::open(file(&deep), AREA_MAX).unwrap();
    let Some(MediaStep::Picture { picture, .. }) = media.next_step().unwrap() else { panic!("a picture") };
    assert_eq!(picture.range, Range::Limited);
    assert!((125..=126).contains(&picture.planes[0].data[0]) && picture.planes[1].data[0] == 128);
}

/// Puts the orientation a photograph was taken in into a JPEG.
fn with_orientation(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
    let length = u16::try_from(exif.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], &[0xff, 0xe1], &length, &exif, &jpeg[2..]].concat()
}

#[test]
fn photographs_are_turned_upright() {
    let size = PictureSize { width: 64, height: 32 };
    let mut image = I420Image::new(size).unwrap();
    for plane in 1..3 {
        image.rows_mut(plane).for_each(|row| row.fill(128));
    }
    // Bright at the left.
    image.rows_mut(0).for_each(|row| row[..16].fill(250));
    let settings = EncoderSettings {
        format: EncodeFormat::Mjpeg,
        size,
        range: Range::Limited,
        rate_hz: 1,
        kbit: 1,
        key_interval: 1,
    };
    let mut encoder = Encoder::new(&settings).unwrap();
    let jpeg = encoder.encode(&image.picture(), Keyframe::Now).unwrap().unwrap().data.to_vec();
    // Where the bright edge is, once upright: orientation 6 is turned by 90 degrees clockwise, 8 back, 3 by 180.
    for (orientation, [width, height], [x, y]) in
        [(1, [64, 32], [2, 16]), (6, [32, 64], [16, 2]), (8, [32, 64], [16, 61]), (3, [64, 32], [61, 16])]
    {
        let mut media = Media::open(file(&with_orientation(&jpeg, orientation)), AREA_MAX).unwrap();
        let Some(MediaStep::Picture { picture, .. }) = media.next_step().unwrap() else { panic!("a picture") };
        assert_eq!(picture.size, PictureSize { width, height }, "orientation {orientation}");
        let bright = picture.planes[0].data[y * picture.planes[0].stride + x];
        assert!(bright > 200, "orientation {orientation}: {bright}");
        let other = [width as usize - 1 - x, height as usize - 1 - y];
        assert!(picture.planes[0].data[other[1] * picture.planes[0].stride + other[0]] < 60);
    }
}

#[test]
fn a_pipe_is_read_to_its_end() {
    let bytes = ivf_of(&encoded(EncodeFormat::Vp8, SMALL, 30), SMALL);
    let (reader, mut writer) = std::io::pipe().unwrap();
    let sent = std::thread::spawn(move || writer.write_all(&bytes));
    let reader = File::from(std::os::fd::OwnedFd::from(reader));
    assert_eq!(read(&mut Media::open(reader, AREA_MAX).unwrap()), expected(30, 3000));
    sent.join().unwrap().unwrap();
}

#[test]
fn what_is_no_video_is_refused() {
    let refused = |bytes: &[u8]| Media::open(file(bytes), AREA_MAX).unwrap_err();
    assert_eq!(refused(b""), MediaError::Format);
    assert_eq!(refused(&b"This is a text and no video. ".repeat(100)), MediaError::Format);
    // A playlist would name other files.
    let playlist = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n";
    assert_eq!(refused(playlist.as_bytes()), MediaError::Format);
    // One second of silence.
    let mut wave = b"RIFF\x64\x1f\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x40\x1f\0\0\x01\0\x08\0data".to_vec();
    wave.extend(8000_u32.to_le_bytes());
    wave.resize(8044, 128);
    assert_eq!(refused(&wave), MediaError::NoVideo);
}

#[test]
fn pictures_above_the_limit_are_refused() {
    let first = |bytes: &[u8], area_max| match Media::open(file(bytes), area_max) {
        Ok(mut media) => matches!(media.next_step(), Ok(Some(MediaStep::Picture { .. }))),
        Err(_) => false,
    };
    let bytes = ivf_of(&encoded(EncodeFormat::Vp8, SMALL, 2), SMALL);
    assert!(first(&bytes, 320 * 240));
    assert!(!first(&bytes, 320 * 240 - 1));
    assert!(!first(&ppm(9000, 2, [1, 2, 3]), AREA_MAX), "a side above the limit");
}

#[test]
fn damaged_files_never_do_worse_than_fail() {
    let mut sources = vec![ivf_of(&encoded(EncodeFormat::Vp8, SMALL, 12), SMALL)];
    sources.push(encoded(EncodeFormat::Mjpeg, SMALL, 4).concat());
    for format in [VideoFormat::Mp4, VideoFormat::WebM] {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        video(format, SMALL, 12).unwrap().read_to_end(&mut bytes).unwrap();
        sources.push(bytes);
    }
    let mut state = 0x9e37_79b9_u32;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % below
    };
    let (mut pictures, mut refused) = (0, 0);
    for source in &sources {
        for _ in 0..25 {
            let mut bytes = source.clone();
            for _ in 0..1 + random(20) {
                let place = random(bytes.len());
                bytes[place] = random(256).try_into().unwrap();
            }
            bytes.truncate(bytes.len() - random(bytes.len() / 2));
            let Ok(mut media) = Media::open(file(&bytes), AREA_MAX) else {
                refused += 1;
                continue;
            };
            // A damaged file has no more units than bytes.
            for _ in 0..bytes.len() {
                match media.next_step() {
                    Ok(Some(MediaStep::Picture { .. })) => pictures += 1,
                    Ok(Some(MediaStep::Corrupt { .. })) => {}
                    Ok(None) => break,
                    Err(_) => {
                        refused += 1;
                        break;
                    }
                }
            }
        }
    }
    assert!(pictures > 100 && refused > 0, "{pictures} pictures, {refused} refused");
}
