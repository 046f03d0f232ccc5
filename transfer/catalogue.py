"""The 20 downstream sets as data: what they are, their exact sizes, where they come from. No code of theirs is here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Version:
    """A version of a set that can be read and is not the published one."""

    variant: str
    """NAME:VARIANT asks for it."""
    train: int
    test: int
    classes: int
    note: str
    """What it is."""


@dataclass(frozen=True)
class TaskRow:
    """One downstream set. Sizes are the published ones (reference datasets.md, 2.2)."""

    name: str
    group: Literal["Natural", "Satellite", "Symbolic", "Medical", "Illustrative", "Texture"]
    seen: bool
    """Used to train Task2Sim's controller (12 of the 20)."""
    train: int
    test: int
    classes: int
    split: Literal["given", "made"]
    """given: by the set's authors or distributors. made: 70/30 per class from sorted names (transfer.splits)."""
    license: str
    citation: str
    source: str
    steps: str
    """How to get it, exactly; the files go to ROOT/NAME."""
    public: bool = False
    """`tasks download` fetches it."""
    metric: str = "accuracy"
    """What the score is: top-1 over all test images, for each of the 20."""
    also_report: tuple[str, ...] = ()
    """Metrics beside it that the community reports."""
    grouped_by: str = ""
    """What must not be torn apart in the `grouped` split; empty: unknown."""
    variants: tuple[str, ...] = ()
    """What NAME:VARIANT and `--variant` may name, the published one among them; empty: there is one version only."""
    known_sizes: tuple[Version, ...] = ()
    class_sizes: tuple[tuple[int, ...], ...] = ()
    """Images that a class may have in both parts together: of each class in the reader's order, or one entry for all;
    empty: the reference does not state them."""
    license_source: str = ""
    """What states the licence, and who quoted it where it was read second-hand; empty: not verified."""

    def sizes(self, variant: str = "") -> tuple[int, int, int]:
        """Train, test and classes of a variant; the published ones where it has no others (as DTD's folds)."""
        of = next((version for version in self.known_sizes if version.variant == variant), self)
        return of.train, of.test, of.classes


UNBALANCED = ("mean_per_class",)
KAGGLE = "needs a Kaggle account: `kaggle datasets download -d {} --unzip` inside ROOT/{}"

TASKS: tuple[TaskRow, ...] = (
    TaskRow(
        "CropDisease", "Natural", True, 43456, 10849, 38, "given", "CC BY-SA 3.0",
        "Mohanty, Hughes, Salathé 2016, Using deep learning for image-based plant disease detection",
        "https://www.kaggle.com/datasets/saroz014/plant-disease",
        KAGGLE.format("saroz014/plant-disease", "CropDisease")
        + " (gives dataset/train and dataset/test); or clone https://github.com/spMohanty/PlantVillage-Dataset there "
        "(raw/color and leaf-map.json; its split is made, 80/20)",
        grouped_by="leaf", license_source="README_HF.md of github.com/spMohanty/PlantVillage-Dataset",
    ),
    TaskRow(
        "Flowers102", "Natural", True, 1020, 6149, 102, "given", "no licence stated, research use",
        "Nilsback, Zisserman 2008, Automated flower classification over a large number of classes",
        "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
        "fetched by `tasks download`: jpg/, imagelabels.mat, setid.mat", public=True, also_report=UNBALANCED,
        known_sizes=(
            Version("2040", 2040, 6149, 102, "training and validation parts together, as Task2Sim's released loader"),
        ),
        variants=("1020", "2040"),
    ),
    TaskRow(
        "DeepWeeds", "Natural", True, 12252, 5257, 9, "made", "CC BY 4.0",
        "Olsen et al. 2019, DeepWeeds: a multiclass weed species image dataset for deep learning",
        "https://github.com/AlexOlsen/DeepWeeds",
        "download images.zip (linked in the repository's README) and labels/labels.csv; unzip the images to "
        "ROOT/DeepWeeds/images, put labels.csv beside it", also_report=UNBALANCED,
        license_source="README of github.com/AlexOlsen/DeepWeeds",
        class_sizes=tuple((size,) for size in (1125, 1064, 1031, 1022, 1062, 1009, 1074, 1016, 9106)),
    ),
    TaskRow(
        "CUB", "Natural", False, 5994, 5794, 200, "given", "non-commercial research and educational purposes",
        "Wah et al. 2011, The Caltech-UCSD Birds-200-2011 dataset",
        "https://www.vision.caltech.edu/datasets/cub_200_2011/",
        "download CUB_200_2011.tgz (1.1 GB) there and unpack it in ROOT/CUB", also_report=UNBALANCED,
        license_source="vision.caltech.edu/datasets/cub_200_2011 (as quoted by a copy of that page)",
    ),
    TaskRow(
        "EuroSAT", "Satellite", True, 18900, 8100, 10, "made", "MIT",
        "Helber et al. 2019, EuroSAT: a novel dataset and deep learning benchmark for land use and land cover",
        "https://github.com/phelber/EuroSAT", "fetched by `tasks download`: 2750/<Class>/*.jpg", public=True,
        license_source="LICENSE of github.com/phelber/EuroSAT",
    ),
    TaskRow(
        "Resisc45", "Satellite", True, 22005, 9495, 45, "made", "no licence stated, research use",
        "Cheng, Han, Lu 2017, Remote sensing image scene classification: benchmark and state of the art",
        "https://gcheng-nwpu.github.io/",
        "download NWPU-RESISC45.rar (OneDrive link on that page) and unpack it *with* its folders in ROOT/Resisc45",
        class_sizes=((700,),),
    ),
    TaskRow(
        "AID", "Satellite", False, 6993, 3007, 30, "made", "no licence stated, research use",
        "Xia et al. 2017, AID: a benchmark data set for performance evaluation of aerial scene classification",
        "https://captain-whu.github.io/AID/",
        "download AID.zip (OneDrive or Baidu link on that page) and unzip it in ROOT/AID", also_report=UNBALANCED,
    ),
    TaskRow(
        "CactusAerial", "Satellite", False, 17500, 4000, 2, "given", "as stated on its Kaggle page",
        "López-Jiménez et al. 2019, Columnar cactus recognition in aerial images using a deep learning approach",
        "https://www.kaggle.com/datasets/irvingvasquez/cactus-aerial-photos",
        KAGGLE.format("irvingvasquez/cactus-aerial-photos", "CactusAerial"), also_report=UNBALANCED,
    ),
    TaskRow(
        "Omniglot", "Symbolic", True, 9226, 3954, 659, "made", "MIT",
        "Lake, Salakhutdinov, Tenenbaum 2015, Human-level concept learning through probabilistic program induction",
        "https://github.com/brendenlake/omniglot",
        "fetched by `tasks download`: images_evaluation/<alphabet>/<character>/*.png, which is the task, and "
        "images_background/, which only Omniglot:1623 reads (also torchvision's Omniglot with background=True)",
        public=True, variants=("659", "1623"),
        known_sizes=(
            Version("1623", 22722, 9738, 1623, "all 1,623 characters; the task is the 659 of the evaluation alphabets"),
        ),
        license_source="LICENSE of github.com/brendenlake/omniglot", class_sizes=((20,),),
    ),
    TaskRow(
        "SVHN", "Symbolic", True, 73257, 26032, 10, "given", "non-commercial use",
        "Netzer et al. 2011, Reading digits in natural images with unsupervised feature learning",
        "http://ufldl.stanford.edu/housenumbers/", "fetched by `tasks download`: {train,test}_32x32.mat", public=True,
        license_source="card of huggingface.co/datasets/ufldl-stanford/svhn (a copy, not the authors' page)",
    ),
    TaskRow(
        "USPS", "Symbolic", False, 7291, 2007, 10, "given", "no licence stated",
        "Hull 1994, A database for handwritten text recognition research",
        "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass.html#usps",
        "fetched by `tasks download`: usps.bz2, usps.t.bz2", public=True,
    ),
    TaskRow(
        "ISIC", "Medical", True, 7007, 3008, 7, "made", "CC BY-NC 4.0",
        "Codella et al. 2019, Skin lesion analysis toward melanoma detection 2018; Tschandl et al. 2018 (HAM10000)",
        "https://challenge.isic-archive.com/data/#2018",
        "register there; unzip ISIC2018_Task3_Training_Input.zip and ..._GroundTruth.zip in ROOT/ISIC, and put "
        "ISIC2018_Task3_Training_LesionGroupings.csv beside them (or use HAM10000: HAM10000_metadata.csv and images)",
        also_report=("mean_per_class", "macro_auc"), grouped_by="lesion",
        license_source="nowhere that was found (as quoted by third-party READMEs)",
        class_sizes=tuple((size,) for size in (1113, 6705, 514, 327, 1099, 115, 142)),
    ),
    TaskRow(
        "ChestX", "Medical", True, 18090, 7758, 7, "made", "no restrictions, attribution to the NIH Clinical Center",
        "Wang et al. 2017, ChestX-ray8: hospital-scale chest X-ray database and benchmarks",
        "https://nihcc.app.box.com/v/ChestXray-NIHCC",
        "download Data_Entry_2017.csv and images_01.tar.gz ... images_12.tar.gz (42 GB) there into ROOT/ChestX and "
        "unpack them (`tasks download` unpacks archives that lie there)",
        also_report=("mean_per_class", "macro_auc"), grouped_by="patient",
        license_source="FAQ of the NIH set (as quoted by Google Cloud's page on NIH Chest X-ray)",
        class_sizes=tuple((size,) for size in (4215, 1093, 3955, 9547, 2139, 2705, 2194)),
    ),
    TaskRow(
        "ChestXPneumonia", "Medical", False, 5216, 624, 2, "given", "CC BY 4.0",
        "Kermany et al. 2018, Identifying medical diagnoses and treatable diseases by image-based deep learning",
        "https://www.kaggle.com/datasets/paultimothymooney/chest-xray-pneumonia",
        KAGGLE.format("paultimothymooney/chest-xray-pneumonia", "ChestXPneumonia"),
        also_report=("mean_per_class", "macro_auc"), grouped_by="patient",
        license_source="data.mendeley.com/datasets/rscbjbr9sj (as quoted by others)",
    ),
    TaskRow(
        "Kaokore", "Illustrative", True, 6568, 821, 8, "given", "CC BY-SA 4.0",
        "Tian et al. 2020, KaoKore: a pre-modern Japanese art facial expression dataset",
        "https://github.com/rois-codh/kaokore",
        "clone it and run `python download.py --dataset_version 1.1 --dir ROOT/Kaokore` (one by one, images_256/)",
        also_report=UNBALANCED,
        variants=("1.0", "1.1", "1.2"),
        known_sizes=(
            Version("1.0", 4238, 527, 8, "version 1.0; the published sizes are version 1.1"),
            Version("1.2", 6756, 845, 8, "version 1.2; the published sizes are version 1.1"),
        ),
        license_source="README of github.com/rois-codh/kaokore",
    ),
    TaskRow(
        "Sketch", "Illustrative", True, 35000, 15889, 1000, "made",
        "MIT for the repository, whose pictures were found on the web and have owners of their own",
        "Wang et al. 2019, Learning robust global representations by penalizing local predictive power",
        "https://github.com/HaohanWang/ImageNet-Sketch",
        "download the zip file (link in the README; 7.8 GB) and unzip it in ROOT/Sketch",
        license_source="LICENSE of github.com/HaohanWang/ImageNet-Sketch", class_sizes=((50, 51),),
    ),
    TaskRow(
        "PACS-C", "Illustrative", False, 2107, 237, 7, "given", "no licence stated, research use",
        "Li et al. 2017, Deeper, broader and artier domain generalization",
        "https://sketchx.eecs.qmul.ac.uk/downloads/",
        "download PACS there (Google Drive): either cartoon_{train,val}.hdf5, or the pictures (cartoon/<class>/) with "
        "the lists cartoon_{train,crossval}_kfold.txt, into ROOT/PACS-C",
    ),
    TaskRow(
        "PACS-S", "Illustrative", False, 3531, 398, 7, "given", "no licence stated, research use",
        "Li et al. 2017, Deeper, broader and artier domain generalization",
        "https://sketchx.eecs.qmul.ac.uk/downloads/",
        "download PACS there (Google Drive): either sketch_{train,val}.hdf5, or the pictures (sketch/<class>/) with "
        "the lists sketch_{train,crossval}_kfold.txt, into ROOT/PACS-S",
    ),
    TaskRow(
        "DTD", "Texture", True, 3760, 1880, 47, "given",
        "made available to the computer vision community for research purposes",
        "Cimpoi et al. 2014, Describing textures in the wild",
        "https://www.robots.ox.ac.uk/~vgg/data/dtd/", "fetched by `tasks download`: dtd/images, dtd/labels",
        public=True, variants=tuple(str(fold) for fold in range(1, 11)),
        license_source="robots.ox.ac.uk/~vgg/data/dtd",
    ),
    TaskRow(
        "FMD", "Texture", False, 700, 300, 10, "made", "Creative Commons, per picture",
        "Sharan, Rosenholtz, Adelson 2009, Material perception: what can you see in a brief glance?",
        "https://people.csail.mit.edu/lavanya/fmd.html",
        "download FMD.zip there and unzip it in ROOT/FMD (image/<class>/, mask/<class>/)",
        license_source="people.csail.mit.edu/lavanya/fmd.html", class_sizes=((100,),),
    ),
)  # fmt: skip
"""Published sizes everywhere but FMD: the slides' 1400/600 count 1,000 masks as pictures; the set is 700/300."""


def task_row(name: str) -> TaskRow | None:
    """The row of this exact name, or None."""
    return next((row for row in TASKS if row.name == name), None)
