"""BigQuery's REST API for models.

https://cloud.google.com/bigquery/docs/reference/rest/v2/models
"""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local_bigquery.ml.registry import ModelRegistry
from local_bigquery.rest.messages import json_body, json_object, page
from local_bigquery.sql.statements import ModelPath

_DEFAULT_PAGE = 1000
_NO_CONTENT = 204


def model_routes(project_path: str, models: ModelRegistry) -> list[Route]:
    """Return the routes of models.list, get, patch and delete.

    Args:
        project_path: the path of a project, with the parameter `project`.
        models: the models.
    """
    dataset_models = project_path + "/datasets/{dataset}/models"
    model = dataset_models + "/{model}"

    async def list_models(request: Request) -> Response:
        listed = await models.of_dataset(request.path_params["project"], request.path_params["dataset"])
        some, token = page(listed, request, default_size=_DEFAULT_PAGE)
        return JSONResponse({**({"models": some} if some else {}), **token})

    async def get_model(request: Request) -> Response:
        return JSONResponse(await models.get(_path(request)))

    async def patch_model(request: Request) -> Response:
        changes = await json_body(request)
        json_object(changes, "labels")
        return JSONResponse(await models.patch(_path(request), changes, request.headers.get("if-match")))

    async def delete_model(request: Request) -> Response:
        await models.delete(_path(request))
        return Response(status_code=_NO_CONTENT)

    return [
        Route(dataset_models, list_models, methods=["GET"]),
        Route(model, get_model, methods=["GET"]),
        Route(model, patch_model, methods=["PATCH"]),
        Route(model, delete_model, methods=["DELETE"]),
    ]


def _path(request: Request) -> ModelPath:
    return ModelPath(request.path_params["project"], request.path_params["dataset"], request.path_params["model"])
