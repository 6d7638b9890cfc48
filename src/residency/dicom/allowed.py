"""What may stay of a DICOM header, by public keyword: an attribute that is not named here does not survive.

Compare DICOM PS3.15, annex E. Reviewed by hand: add nothing that may hold free text, a date or an identifier.
"""

KEPT = frozenset(
    {
        "Modality", "SOPClassUID", "ImageType", "Manufacturer", "ManufacturerModelName", "TransducerType",
        "PatientSex", "PatientAge", "BodyPartExamined", "Laterality", "ImageLaterality", "ViewPosition",
        "PixelSpacing", "NumberOfFrames", "FrameTime", "RecommendedDisplayFrameRate", "CineRate",
        "SequenceOfUltrasoundRegions", "UltrasoundColorDataPresent", "DepthOfScanField", "MechanicalIndex",
        "SoftTissueThermalIndex", "BoneThermalIndex", "TransducerFrequency", "LossyImageCompression",
        "LossyImageCompressionRatio", "LossyImageCompressionMethod", "InstanceNumber", "SeriesNumber",
    }
)  # fmt: skip
"""What stays as it is, on the top level. Pixels and what describes them are written anew, so none stand here."""
INSIDE = frozenset(
    {
        "RegionSpatialFormat", "RegionDataType", "RegionFlags", "RegionLocationMinX0", "RegionLocationMinY0",
        "RegionLocationMaxX1", "RegionLocationMaxY1", "ReferencePixelX0", "ReferencePixelY0",
        "PhysicalUnitsXDirection", "PhysicalUnitsYDirection", "ReferencePixelPhysicalValueX",
        "ReferencePixelPhysicalValueY", "PhysicalDeltaX", "PhysicalDeltaY", "TransducerFrequency",
        "PulseRepetitionFrequency",
    }
)  # fmt: skip
"""What stays of an ultrasound region."""
HASHED = ("PatientID", "PatientName", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
EMPTIED = ("StudyDate", "StudyTime", "PatientBirthDate", "AccessionNumber", "ReferringPhysicianName", "StudyID")
"""What a DICOM picture must have, and may have empty (type 2)."""
PIXELS = frozenset(
    {
        "PixelData", "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration",
        "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "WindowCenter", "WindowWidth",
        "RescaleSlope", "RescaleIntercept", "VOILUTFunction", "VOILUTSequence", "ModalityLUTSequence",
        "PresentationLUTShape", "SmallestImagePixelValue", "LargestImagePixelValue", "PixelPaddingValue",
        "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
        "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData",
        "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData",
    }
)  # fmt: skip
"""What describes the pixels as they were; the pictures are drawn anew in 8 bits, grey or RGB."""
