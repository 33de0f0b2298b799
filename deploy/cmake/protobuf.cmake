find_package(Protobuf REQUIRED)

# troupe_protobuf(TARGET a.proto ...): a library of the messages, included as "<folder>/a.pb.h".
# FindProtobuf's own function puts the files where imports from the root do not find them.
function(troupe_protobuf target)
  set(sources)
  foreach(file ${ARGN})
    cmake_path(ABSOLUTE_PATH file BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
    cmake_path(RELATIVE_PATH file BASE_DIRECTORY ${PROJECT_SOURCE_DIR} OUTPUT_VARIABLE name)
    cmake_path(REPLACE_EXTENSION name LAST_ONLY pb OUTPUT_VARIABLE stem)
    add_custom_command(
      OUTPUT ${PROJECT_BINARY_DIR}/${stem}.cc ${PROJECT_BINARY_DIR}/${stem}.h
      COMMAND protobuf::protoc --proto_path=${PROJECT_SOURCE_DIR}
              --cpp_out=${PROJECT_BINARY_DIR} ${name}
      DEPENDS ${file} protobuf::protoc
      WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
      VERBATIM)
    list(APPEND sources ${PROJECT_BINARY_DIR}/${stem}.cc)
  endforeach()
  add_library(${target} ${sources})
  target_include_directories(${target} SYSTEM PUBLIC ${PROJECT_BINARY_DIR})
  target_link_libraries(${target} PUBLIC protobuf::libprotobuf)
endfunction()
