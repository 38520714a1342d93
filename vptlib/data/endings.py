"""Endings of files that may hold images, but are not read, with what would include them."""

from vptlib.data.formats import NEEDS_PLUGIN

# What to do with files of an ending, as a code; `vptlib.report.words` has its sentence.
CONVERT, INSTALL, UNPACK, FRAMES, NAME_IT = "convert", "install", "unpack", "frames", "name it"
_ENDINGS = {
    # Raw files of cameras, medical and scientific images, drawings, and what Pillow reads only on some machines.
    CONVERT: """
        cr2 cr3 crw nef nrw arw srf sr2 dng orf rw2 raf pef srw x3f erf kdc 3fr iiq rwl mrw raw dcm dicom nii npy npz
        mat h5 hdf5 hdf fits fit svg svgz eps ps pdf psd psb xcf ai djvu exr hdr dds jxl jxr wdp avif jp2 j2k j2c jpc
        jpf jpx
        jxs webp svs ndpi mrxs czi lif nd2 vsi oib oif lsm ico icns cur tga pcx wmf emf xpm xbm pcd fpx dib mpo bpg flif
        cin dpx pic sgi ras qoi
    """,
    UNPACK: "zip tar gz tgz bz2 xz 7z rar zst lz4 lmdb tfrecord tfrecords parquet arrow",
    FRAMES: "mp4 m4v mov avi mkv wmv webm mpg mpeg flv mts m2ts 3gp",
}
_WAY_OF = {f".{ending}": way for way, endings in _ENDINGS.items() for ending in endings.split()}
_WAY_OF |= dict.fromkeys(NEEDS_PLUGIN, INSTALL)


def way_of(ending: str) -> str:
    """How files of an ending (lower case, with its dot) could be used; "" if they hold no images."""
    return _WAY_OF.get(ending, "")
